#include "cluster.hpp"

namespace kv_tests {

std::vector<std::string> Cluster::command_of(std::size_t i, const std::filesystem::path& files,
                                             const std::vector<std::string>& arguments) const {
    std::string host = client_address(i).host;
    std::string timeout = std::to_string(election_timeout_max.count() / 2);
    std::vector<std::string> command{
        settings.server, "--id", std::to_string(i + 1), "--dir", files.string(),
        "--bind",        host,   "--election-timeout",  timeout};
    bool tells_secret = false;
    for (const auto* more : {&options_.arguments, &arguments}) {
        command.insert(command.end(), more->begin(), more->end());
        for (const std::string& word : *more)
            tells_secret = tells_secret || word == "--secret-file";
    }
    if (!tells_secret) command.insert(command.end(), {"--secret-file", secret_.string()});
    if (i >= options_.replicas) {
        command.insert(command.end(), {"--join", "--address", full_address(i)});
        return command;
    }
    command.push_back("--bootstrap");
    for (std::size_t j = 0; j < options_.replicas; ++j) {
        command.push_back(std::to_string(j + 1) + "=" + full_address(j));
    }
    return command;
}

void Cluster::start(std::size_t i) {
    std::vector<std::string> environment;
    if (options_.broken_disks) environment = disk(i).environment();
    int network = options_.wire ? options_.wire->network(i + 1) : -1;
    process(i) = Process::start({command_of(i, directory(i), {}), log(i), environment, network});
}

Process Cluster::start_impostor(std::size_t i, const std::vector<std::string>& arguments) const {
    std::filesystem::path files = files_.path() / "impostor";
    std::filesystem::remove_all(files);
    return Process::start({command_of(i, files, arguments), log(i)});
}

Reply ask(Cluster& cluster, std::size_t replica, const std::vector<std::string>& command) {
    Client client(cluster.client_address(replica), 2s);
    Reply reply;
    bool answers = wait_until([&] {
        reply = client.call(command);
        return !was_refused(reply) && !is_unknown(reply);
    });
    if (!answers)
        throw std::runtime_error("replica " + std::to_string(replica + 1) + " answers " +
                                 reply.show() + cluster.logs());
    return reply;
}

Reply write(Cluster& cluster, const std::vector<std::string>& command) {
    return ask(cluster, cluster.wait_for_leader(), command);
}

std::string info(Cluster& cluster, std::size_t replica, const std::string& section) {
    return Client(cluster.client_address(replica), 1s).call({"INFO", section}).text;
}

namespace {

std::string field(const std::string& text, const std::string& name) {
    std::size_t at = text.find("\n" + name + ":");
    if (at == std::string::npos) return "";
    at += name.size() + 2;
    return text.substr(at, text.find('\r', at) - at);
}

}  // namespace

std::string raft_field(Cluster& cluster, std::size_t replica, const std::string& name) {
    return field(info(cluster, replica, "raft"), name);
}

std::uint64_t counted(Cluster& cluster, std::size_t replica, const std::string& name) {
    std::string value = field(info(cluster, replica, "stats"), name);
    return value.empty() ? 0 : std::stoull(value);
}

}  // namespace kv_tests
