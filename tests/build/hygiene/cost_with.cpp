#include <chrono>
#include <condition_variable>
#include <variant>

#include "little_raft.hpp"

int main() {}
