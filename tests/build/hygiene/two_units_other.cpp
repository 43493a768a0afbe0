// What <windows.h> defines does no harm. The standard headers that little_raft.hpp includes come
// before, by way of a list that `run` writes, because libstdc++ itself does not survive these
// macros.
#include "standard_headers.hpp"

#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define small char
#define near
#define far
#define interface struct
#define IN
#define OUT
#define ERROR 0

#include "minimal.hpp"

int poll_other();

int poll_other() {
    minimal::Machine machine;
    minimal::Network<minimal::Machine> network;
    little_raft::Replica replica{{1}, {}, network, machine};
    little_raft::Notifier notifier;
    notifier.notify();
    replica.start(notifier);
    return replica.status().fault ? 1 : 0;
}
