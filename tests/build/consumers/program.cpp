// What each consumer builds: it includes the header by its name alone, and a Notifier needs what
// the header needs to link.
#include <cstdio>
#include <little_raft.hpp>

int main() {
    little_raft::Notifier notifier;
    notifier.notify();
    notifier.wait_until(little_raft::Time{});
    std::puts(LITTLE_RAFT_VERSION);
}
