# Runs one Python tool. The interpreter is started for each call, so nothing is imported that is not
# built into it: `json` alone, with what it imports, would double the time.
#
# A source that defines `call` is a tool: its result is what `call(input)` returns. Any other is a
# script, and its result is the value of its last expression, as in a notebook. What is printed comes
# first on standard output, then the byte 0x1e and the answer: [true, result] or [false, error].
import _ast
import _json
import sys


class Strict:
    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    memo = {}

    def parse_constant(name):
        raise ValueError(name)


def unknown(value):
    raise TypeError(f"{type(value).__name__} is not JSON")


def encode(value):
    encoder = _json.make_encoder({}, unknown, _json.encode_basestring_ascii, None, ": ", ", ", False, False, False)
    return "".join(encoder(value, 0))


def evaluate(source, given):
    scope = {"__name__": "__main__", "__builtins__": __builtins__, "input": given}
    tree = compile(source, "tool.py", "exec", 0x400)  # as a syntax tree
    last = None
    if tree.body and isinstance(tree.body[-1], _ast.Expr):
        last = compile(_ast.Expression(tree.body.pop().value), "tool.py", "eval")
    exec(compile(tree, "tool.py", "exec"), scope)
    value = eval(last, scope) if last else None
    return scope["call"](given) if callable(scope.get("call")) else value


def main():
    source, given = _json.make_scanner(Strict)(sys.stdin.read(), 0)[0]
    try:
        answer = encode([True, evaluate(source, given)])
    except SystemExit as error:
        answer = encode([True, None] if error.code in (None, 0) else [False, f"it ended with code {error.code}"])
    except BaseException as error:
        # Without the lines of this file.
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename != "tool.py":
            trace = trace.tb_next
        sys.__excepthook__(type(error), error, trace)
        answer = encode([False, f"{type(error).__name__}: {error}"[:4000]])
    sys.stdout.write("\x1e" + answer)
    sys.stdout.flush()


main()
