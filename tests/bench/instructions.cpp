// One workload with some number of transitions, for whoever counts instructions: the difference of
// two lengths is what a transition costs.
//
//     instructions A|B|D|E N
#include <string_view>

#include "cluster.hpp"

int main(int count, char** arguments) {
    bench::require(count == 3, "usage: instructions A|B|D|E N");
    std::string_view workload = arguments[1];
    std::uint64_t transitions = std::strtoull(arguments[2], nullptr, 10);
    bench::require(workload.size() == 1 &&
                       std::string_view("ABDE").find(workload) != std::string_view::npos &&
                       transitions > 0,
                   "usage: instructions A|B|D|E N");
    bench::Cluster<bench::Small> cluster(workload == "D" ? 5 : 3);
    std::size_t late = (cluster.leader() + 1) % cluster.size();
    if (workload == "E") cluster.cut_off(late, true);
    bench::replicate(cluster, transitions, workload == "B" ? 1 : 100);
    if (workload == "E") bench::catch_up(cluster, late);
    std::printf("%.3f messages a transition\n",
                static_cast<double>(cluster.messages()) / static_cast<double>(transitions));
}
