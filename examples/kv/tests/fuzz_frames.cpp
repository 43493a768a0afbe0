// Bytes from another replica: frames, each with two bytes of length before it here, are decoded and
// given to a replica with the store behind it, as if they came from its peers.
//
// Besides what the sanitizers see: what is decoded is encoded to what is decoded as the same; the
// replica neither stops nor applies what is not committed; a snapshot that is no state of a store
// is refused as such; and no membership is larger than the limits say.
#include <map>

#include "../commands.hpp"
#include "../wire.hpp"
#include "fuzz.hpp"

namespace {

using little_raft::ReplicaId;

struct Network {
    using Message = kv::Message;
    std::vector<Message> incoming, outgoing;

    void send_message(ReplicaId, Message message) { outgoing.push_back(std::move(message)); }
    std::vector<Message> receive_messages() { return std::exchange(incoming, {}); }
    bool halt() const { return false; }
    void register_leader(std::optional<ReplicaId>) {}
    std::optional<kv::Membership> get_pending_membership() { return std::nullopt; }
    void register_membership(const kv::Membership& membership, little_raft::MembershipState) {
        for (const auto* half : {&membership.members, &membership.outgoing}) {
            EXPECT(half->size() <= kv::members_max);
            for (const auto& member : *half) EXPECT(member.address.size() <= kv::address_bytes_max);
        }
    }
};

using Snapshot = little_raft::Snapshot<std::string, kv::Membership>;

struct Machine {
    using Transition = kv::Command;
    using SnapshotData = std::string;
    std::optional<kv::Store> store_;  // Its slots take long to make: only if one is needed.
    std::optional<Snapshot> snapshot;

    kv::Store& store() { return store_ ? *store_ : store_.emplace(); }

    void register_transition_state(kv::CommandId, little_raft::TransitionState) {}
    void apply_transition(const kv::Command& command) {
        kv::Words words;
        std::string reply;
        auto time = kv::unpack_command(*command.body, words);
        if (!time || words.empty()) return;
        store().advance(*time);
        const kv::CommandSpec* spec = kv::find_command(words[0]);
        if (spec && spec->run && kv::fits(*spec, words.size())) spec->run(store(), words, reply);
    }
    std::vector<kv::Command> get_pending_transitions() { return {}; }
    std::optional<Snapshot> get_snapshot() { return snapshot; }
    std::string create_snapshot(little_raft::Index index, little_raft::Term term,
                                const kv::Membership& membership) {
        snapshot = {{term, index}, store().save(), membership};
        return snapshot->data;
    }
    void set_snapshot(const Snapshot& installed) {
        snapshot = installed;
        if (!store().load(installed.data)) EXPECT(store().size() == 0);
    }
};

std::string encoded(const kv::Message& message) {
    std::string bytes;
    kv::encode(message, bytes);
    return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace std::chrono_literals;
    Network network;
    Machine machine;
    const std::vector<little_raft::Member> members{{{1}, "a:1@2"}, {{2}, "b:1@2"}, {{3}, "c:1@2"}};
    little_raft::Replica replica{ReplicaId{1}, members, network, machine, {.snapshot_delta = 4}};
    little_raft::Time now{};
    std::string_view rest(reinterpret_cast<const char*>(data), size);
    while (rest.size() >= 2) {
        std::size_t length =
            static_cast<unsigned char>(rest[0]) * 256u + static_cast<unsigned char>(rest[1]);
        std::string_view frame = rest.substr(2, length);
        rest.remove_prefix(2 + frame.size());
        if (auto message = kv::decode(frame)) {
            std::string bytes = encoded(*message);
            auto again = kv::decode(bytes);
            EXPECT(again && encoded(*again) == bytes);
            network.incoming.push_back(std::move(*message));
        }
        // Frames come alone or in company; some come after an election timeout.
        if (frame.size() % 3 != 0) replica.poll(now += frame.size() % 5 == 0 ? 2'000ms : 10ms);
        EXPECT(!replica.status().fault);
    }
    replica.poll(now += 10ms);
    EXPECT(replica.status().last_applied <= replica.status().commit_index);
    for (const kv::Message& message : network.outgoing) EXPECT(kv::decode(encoded(message)));
    return 0;
}
