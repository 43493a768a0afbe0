// What clients saw of a run, against the subject's own machine as the model: whether one machine
// that takes one transition after another could have answered so.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "linearizability.hpp"
#include "little_raft.hpp"
#include "subject.hpp"

namespace little_raft::testing {

/// What a client saw of one transition. Times count calls and answers.
template <class S>
struct ClientCall {
    std::uint64_t number = 0;  ///< Each transition is a client of its own.
    std::uint64_t invoked = 0;
    std::optional<std::uint64_t> answered = std::nullopt;  ///< Nothing: its outcome is not known.
    std::optional<AnswerOf<S>> answer = std::nullopt;
    bool refused = false;  ///< It was told that it has no effect, now or later.
    bool taken = false;    ///< By a replica from its machine: before that it has no effect either.
};

/// The model: what is applied to the machine, one after another, and what it answers then.
template <class S>
struct MachineModel {
    using Traits = SubjectTraits<S>;
    using M = typename Traits::M;

    /// Machines that are copied to be tried out; without observe there is nothing to compare.
    static constexpr bool is_possible =
        Traits::observes && std::copy_constructible<M> && std::equality_comparable<AnswerOf<S>>;

    struct Input {
        const typename Traits::T* transition;
    };
    using Output = AnswerOf<S>;
    struct State {
        std::shared_ptr<const M> machine;  // Shared by all that remember this state.
    };

    static State initial() { return {std::make_shared<const M>(Traits::machine())}; }
    static Output apply(State& state, const Input& input) {
        auto next = std::make_shared<M>(*state.machine);
        next->apply_transition(*input.transition);
        state.machine = next;
        return Traits::observe(*state.machine, *input.transition);
    }
    static bool equal(const State& a, const State& b) {
        return a.machine == b.machine || Traits::equal(*a.machine, *b.machine);
    }
    static std::uint64_t digest(const State& state) requires Traits::digests {
        return S::digest(*state.machine);
    }
    static std::string show(const Input& input) { return Traits::show(*input.transition); }
};

/// Whether any order explains the answers. What was refused or never taken has no effect and is
/// left out; what has no answer may have an effect at any later time, or none.
template <class S>
Linearizability check_history(const std::vector<ClientCall<S>>& calls,
                              const std::vector<typename SubjectTraits<S>::T>& transitions,
                              LinearizabilityLimits limits) {
    using Model = MachineModel<S>;
    std::vector<Operation<Model>> operations;
    for (const ClientCall<S>& call : calls) {
        if (call.refused || !call.taken) continue;
        operations.push_back({.client = call.number,
                              .input = {&transitions[call.number]},
                              .output = call.answer,
                              .invoked = call.invoked,
                              .answered = call.answered});
    }
    return check_linearizability<Model>(operations, limits);
}

}  // namespace little_raft::testing
