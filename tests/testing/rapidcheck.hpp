// For those who have rapidcheck: it draws and shrinks schedules, and draws the transitions of
// subjects that do not. Empty where it is missing.
#pragma once

#if __has_include(<rapidcheck.h>)

#include <rapidcheck.h>

#include <cstdint>
#include <ostream>

#include "random.hpp"
#include "schedule.hpp"
#include "subject.hpp"

namespace little_raft::testing {

inline void showValue(const Op& op, std::ostream& out) { out << to_text(op); }

/// Any transition that rc::Arbitrary makes. Its id must be as good as unique.
template <class T>
struct DrawTransition {
    static T draw(Random& random) {
        constexpr int size = 100;
        return rc::gen::arbitrary<T>()(rc::Random(random.next()), size).value();
    }
};

}  // namespace little_raft::testing

namespace rc {
/// Deliveries, time-outs and transitions make a cluster live; the rest are faults and their ends.
template <>
struct Arbitrary<little_raft::testing::Op> {
    static Gen<little_raft::testing::Op> arbitrary() {
        using little_raft::testing::Op;
        using little_raft::testing::Step;
        auto step = gen::weightedElement<Step>(
            {{60, Step::deliver},  {6, Step::duplicate},  {6, Step::drop},
             {1, Step::corrupt},   {18, Step::time_out},  {2, Step::run},
             {6, Step::advance},   {16, Step::propose},   {6, Step::read},
             {4, Step::crash},     {6, Step::restart},    {2, Step::partition},
             {2, Step::one_way},   {4, Step::heal},       {2, Step::pause},
             {4, Step::resume},    {1, Step::clock_rate}, {1, Step::clock_jump},
             {1, Step::slow_disk}, {1, Step::fail_sync},  {2, Step::transfer},
             {4, Step::end_sync},  {2, Step::change}});
        return gen::build<Op>(gen::set(&Op::step, step),
                              gen::set(&Op::a, gen::resize(1000, gen::arbitrary<std::uint16_t>())),
                              gen::set(&Op::b, gen::resize(1000, gen::arbitrary<std::uint16_t>())));
    }
};
}  // namespace rc

#endif
