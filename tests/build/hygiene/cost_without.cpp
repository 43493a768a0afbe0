// What cost_with.cpp is compared to.
#include <chrono>
#include <condition_variable>
#include <variant>

int main() {}
