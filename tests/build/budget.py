#!/usr/bin/env python3
"""Holds the header to its size.

    tests/build/budget.py FILE        checks FILE
    tests/build/budget.py --self-test checks this program's own reading of C++

Rules: at most 1000 lines of code (as cloc counts them), no function over 40, the median at most 10. A function's
lines are those from the first of its declaration to its closing brace that are neither blank nor comment; a lambda
inside it is a part of it. The ratio of comment to code is told, not judged.
"""

import re
import statistics
import subprocess
import sys

LINES_MAX = 1000
FUNCTION_MAX = 40
MEDIAN_MAX = 10

TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.']*|::|->|&&|<=>|<<|[<>=!+\-*/%&|^]=|\[\[|\]\]|\S")
COMMENT_OR_LITERAL = re.compile(
    r'//[^\n]*'
    r'|/\*.*?\*/'
    r'|R"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![\w'])'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
# What may stand between a function's parameters and its body.
BEFORE_BODY = {")", "}", "const", "noexcept", "override", "final", "mutable", "&", "&&", "try", "]]"}

# What may stand before parentheses that hold no parameters; `operator` stands before those that are its name.
NOT_PARAMETERS = {"", "operator", "requires", "decltype", "noexcept", "alignas", "explicit", "sizeof", "&&", "||"}


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def without_comments(text):
    """The same lines with comments blanked, literals made empty and directives blanked."""

    def replace(match):
        if match.group().startswith("/"):
            return blank(match)
        return '""' + "\n" * match.group().count("\n")

    return DIRECTIVE.sub(blank, COMMENT_OR_LITERAL.sub(replace, text))


def tokens_of(text):
    """Pairs of token and line."""
    line, at = 1, 0
    for match in TOKEN.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        yield match.group(), line


class Declaration:
    """What was read since the last ; { or }, and the reading of what the next { opens."""

    def __init__(self):
        self.tokens = []
        self.line = None
        self.depth = 0  # of parentheses
        self.parameters_end = None  # tokens up to the end of the first parentheses that are not part of a clause
        self.name = None
        self.assigned = None  # the name before a = that stands before any parameters
        self.in_initializers = False  # of a constructor's members
        self.after_requires = False  # the parentheses being closed belong to a requires-expression
        self.openers = []

    def add(self, token, line):
        if self.line is None:
            self.line = line
        if token == "(":
            names_operator = len(self.tokens) > 1 and self.tokens[-2] == "operator"
            self.openers.append("" if not self.tokens else "name" if names_operator else self.tokens[-1])
            self.depth += 1
        elif token == ")" and self.depth > 0:
            self.depth -= 1
            before = self.openers.pop()
            clause = before in NOT_PARAMETERS
            if self.depth == 0:
                self.after_requires = before == "requires"
                if self.parameters_end is None and not clause:
                    self.parameters_end = len(self.tokens) + 1
                    self.name = self.assigned if before == "]" else self.name_before_parameters()
        elif token == ":" and self.depth == 0 and self.parameters_end is not None:
            self.in_initializers = True
        elif token == "=" and self.depth == 0 and self.parameters_end is None and "template" not in self.tokens:
            self.assigned = self.tokens[-1] if self.tokens and self.tokens[-1] != "operator" else None
        self.tokens.append(token)

    def name_before_parameters(self):
        depth, at = 0, len(self.tokens)
        while at > 0:  # back to the ( that has just been closed
            at -= 1
            depth += {")": -1, "(": 1}.get(self.tokens[at], 0)
            if depth == 1:
                break
        if "operator" in self.tokens[:at]:
            start = len(self.tokens[:at]) - 1 - self.tokens[:at][::-1].index("operator")
            return " ".join(self.tokens[start:at])
        name = self.tokens[at - 1] if at else "?"
        return "~" + name if at > 1 and self.tokens[at - 2] == "~" else name

    def opens(self):
        """'function', 'scope' or 'value': what a { opens here."""
        last = self.tokens[-1] if self.tokens else ""
        if self.depth > 0:
            return "value"
        if last == "requires" or (self.after_requires and last == ")"):
            return "value"
        if self.parameters_end is not None:
            after = self.tokens[self.parameters_end :]
            if self.assigned and self.name != self.assigned:
                return "value"
            if self.in_initializers:
                return "function" if last in BEFORE_BODY else "value"
            if last in BEFORE_BODY or "->" in after or "requires" in after:
                return "function"
            return "value"
        if any(word in self.tokens for word in ("namespace", "class", "struct", "union", "enum", "extern")):
            return "value" if "=" in self.tokens and "template" not in self.tokens else "scope"
        return "value"


def functions_of(text):
    """(name, first line, lines of code) of every function that has a body."""
    text = without_comments(text)
    has_code = [bool(line.strip()) for line in text.split("\n")]
    found = []
    scopes = []  # the kind of each open brace, with its declaration
    current = Declaration()
    inside = None  # (name, first line, depth of braces) of the outermost function open
    for token, line in tokens_of(text):
        if inside:
            depth = inside[2] + {"{": 1, "}": -1}.get(token, 0)
            inside = (*inside[:2], depth)
            if depth == 0:
                found.append((inside[0], inside[1], sum(has_code[inside[1] - 1 : line])))
                inside, current = None, Declaration()
            continue
        if token == "{":
            kind = current.opens()
            if kind == "function":
                inside = (current.name, current.line, 1)
            else:
                scopes.append((kind, current))
                current = Declaration()
        elif token == "}":
            kind, opened = scopes.pop() if scopes else ("scope", None)
            current = Declaration() if kind == "scope" else opened
            if kind == "value":
                current.after_requires = False
                current.tokens.append("}")
        elif token == ";" and current.depth == 0:
            current = Declaration()
        elif token == ":" and current.tokens and current.tokens[-1] in ("public", "private", "protected"):
            current = Declaration()
        else:
            current.add(token, line)
    return found


def lines_by_cloc(path):
    """(code, comment)"""
    out = subprocess.run(["cloc", "--quiet", "--csv", path], check=True, capture_output=True, text=True).stdout
    files, _, _, comment, code = [row for row in out.splitlines() if row.startswith("1,")][0].split(",")[:5]
    assert files == "1"
    return int(code), int(comment)


def check(path):
    with open(path, encoding="utf-8") as file:
        functions = functions_of(file.read())
    code, comment = lines_by_cloc(path)
    lengths = [lines for _, _, lines in functions]
    median = statistics.median(lengths)
    longest = sorted(functions, key=lambda function: -function[2])
    checks = [
        (code <= LINES_MAX, f"lines of code: {code}, at most {LINES_MAX}"),
        (max(lengths) <= FUNCTION_MAX, f"longest function: {max(lengths)} lines, at most {FUNCTION_MAX}"),
        (median <= MEDIAN_MAX, f"median of {len(functions)} functions: {median:g} lines, at most {MEDIAN_MAX}"),
    ]
    for good, text in checks:
        print(("ok   " if good else "FAIL ") + text)
    print("     longest: " + ", ".join(f"{name} {lines} (line {line})" for name, line, lines in longest[:6]))
    print(f"     comment to code: {comment / code:.2f} (0.45 to 0.65 is the aim)")
    passed = sum(good for good, _ in checks)
    print(f"budget: {passed} of {len(checks)} checks pass")
    return passed == len(checks)


SAMPLE = r'''
#define MACRO(x) \
    do { (x); } while (0)
namespace a::b { inline namespace v0 {  // } {
enum class Kind : int { one, two };
struct Plain { int value = 0; std::array<int, sizeof(int)> sizes{}; };                    /* { */
template <class T> concept Named = requires(const T& t) { { t.name() } -> std::same_as<int>; };
[[noreturn]] inline void fail(const char* why) {
    std::fputs("{ // not code", stderr);
    // only a comment

    std::abort();
}
class Thing final : public Base<int> {
 public:
    Thing(int a, int b)
        : a_{a}, b_{b, [] { return 1; }()}, c_(std::move(b)) {
        go();
    }
    ~Thing() {}
    bool operator==(const Thing&) const = default;
    Thing& operator()(int x) const noexcept { return '{' == x ? *this : *this; }
    auto trailing() const -> std::vector<int> { return {1, 2, 3}; }
    template <class T>
    requires requires(T t) { t.x(); }
    void constrained(T t)
        requires Named<T>
    {
        if constexpr (requires { t.y(); }) {
            std::visit([&](auto& body) { on(body); }, t);
        }
    }
    template <class Value, class = void>
    static constexpr Value defaulted(Value value = {}, int n = 1'000) {
        return value;
    }
    friend constexpr auto operator<=>(const Thing& x, const Thing& y) { return x.a_ <=> y.a_; }
    static constexpr bool some = requires { typename T::Some; };
    static constexpr int table[] = {1, 2, 3};
    Thing(int a) requires std::same_as<int, int> : Thing(a, Outside{&a, nullptr, {}}) {}
    Thing(long a, Options<int> options = {}) requires std::same_as<int, int>
        : Thing(a, Outside{&a, nullptr, std::move(options), {}}) {}
    Thing(char a) requires(!std::same_as<int, char>) : Thing(a) {
        b_ = 1;
    }
    explicit operator bool() const { return true; }
    Thing& operator=(const Thing& other) { return copy(other), *this; }

 private:
    int a_ = f(1), b_{2};
    std::function<int(int)> call_{nullptr};
};
template <> struct Trait<int (*)(int)> { static int get() { return 1; } };
inline constexpr auto lambda = [](int x) { return x; };
extern "C" { void c_function() {} }
}}
int main() { return 0; }
'''
EXPECTED = [
    ("fail", 4), ("Thing", 4), ("~Thing", 1), ("operator ( )", 1), ("trailing", 1), ("constrained", 9),
    ("defaulted", 4), ("operator <=>", 1), ("Thing", 1), ("Thing", 2), ("Thing", 3), ("operator bool", 1), ("operator =", 1), ("get", 1),
    ("lambda", 1), ("c_function", 1), ("main", 1),
]  # fmt: skip


def self_test():
    found = [(name, lines) for name, _, lines in functions_of(SAMPLE)]
    for got, expected in zip(found + [None] * 99, EXPECTED):
        if got != expected:
            print(f"FAIL expected {expected}, read {got}")
            return False
    if len(found) != len(EXPECTED):
        print(f"FAIL read more than there is: {found[len(EXPECTED):]}")
        return False
    return True


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(0 if (self_test() if sys.argv[1] == "--self-test" else check(sys.argv[1])) else 1)
