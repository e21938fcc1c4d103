#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
The way from a failed test to the C that ran: the functions and macros that its body
reaches by name.

    closure.py PROGRAM FIXTURE TEST [FUNCTION...]

FUNCTIONs are those that the variant brings along, in the rows of its tables. The first
line is "N functions and macros, N lines, N files", the second the same for who does not
look into lib/base and lib/machine. Then one line for each file, and the calls without which
most would not be reached, as "N CALLER -> CALLED": N less of them.

It reads tokens, as a person does who follows names, not types: a name counts where it is
in sight (a static function in its file, and the subjects of a program in one another) and
is neither a member nor a variable of the function. An object with an initializer leads to
the functions that it names, and is not counted itself. Arrays of them are tables of which a
test takes a row, and calls by pointer lead nowhere: hence FUNCTIONs.
"""
import collections
import glob
import os
import re
import sys

IDENTIFIER = re.compile(r"(->|\.)?\s*\b([A-Za-z_]\w*)\b")
# Rooms whose functions a reader can take at their word
LEAVES = ("lib/base/", "lib/machine/")
# What no normal build has
UNDEFINED = ("THP_ASAN",)
# The first words of a statement that declares nothing
KEYWORDS = ("return", "else", "goto", "case", "do", "if", "while", "for", "switch", "sizeof")
# The longest head of a function, in lines
HEAD = 6

Node = collections.namedtuple("Node", "name file first last static counts text")


def blank(text):
    """Text without comments, strings and undefined branches, line by line."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    text = re.sub(r'"(\\.|[^"\\\n])*"', '""', text)
    text = re.sub(r"//.*", "", text)
    out, stack = [], []
    for line in text.split("\n"):
        word = re.match(r"#\s*(ifdef|ifndef|if|else|elif|endif)\b\s*(.*)", line)
        if word and word.group(1) in ("ifdef", "ifndef", "if"):
            off = word.group(2).strip() in UNDEFINED
            stack.append(off if word.group(1) == "ifdef" else False)
        elif word and word.group(1) == "else" and stack:
            stack[-1] = False
        elif word and word.group(1) == "endif" and stack:
            stack.pop()
        out.append("" if any(stack) else line)
    return out


def until(lines, i, start):
    """The line from i on that begins with start."""
    while i < len(lines) - 1 and not lines[i].startswith(start):
        i += 1
    return i


def head(lines, i):
    """The head of a definition at line i, up to "{", and its length; or None."""
    for j in range(i, min(i + HEAD, len(lines))):
        if lines[j].startswith("{"):
            return " ".join(lines[i:j]), j
        if ";" in lines[j] or "=" in lines[j]:
            break
    return None


def definitions(path):
    """The functions, macros and initialized objects of a file."""
    with open(path, encoding="utf-8") as f:
        lines = blank(f.read())
    i = 0
    while i < len(lines):
        line, first = lines[i], i
        macro = re.match(r"#\s*define\s+(\w+)\(([^)]*)\)", line)
        test = re.match(r"TEST_F\w*\((\w+), (\w+)", line)
        if macro:
            while lines[i].rstrip().endswith("\\"):
                i += 1
            text = "\n".join(lines[first:i + 1])[macro.end():]
            own = set(re.findall(r"\w+", macro.group(2)))
            text = IDENTIFIER.sub(lambda m: "" if m.group(2) in own else m.group(), text)
            yield Node(macro.group(1), path, first + 1, i + 1, path.endswith(".c"), True, text)
        elif re.match(r"[A-Za-z_]", line) and not line.startswith("typedef"):
            found = head(lines, i)
            name = re.search(r"(\w+)\(", found[0]) if found else None
            obj = re.match(r"[\w *]*?(\w+) = ", line)
            if test or name:
                i = until(lines, found[1] if found else i, "}")
                name = "@%s.%s" % test.groups() if test else name.group(1)
                static = bool(re.search(r"\bstatic\b", line)) and path.endswith(".c")
                yield Node(name, path, first + 1, i + 1, static, True,
                           "\n".join(lines[first:i + 1]))
            elif obj:
                i = until(lines, i, "}") if line.rstrip().endswith("{") else i
                yield Node(obj.group(1), path, first + 1, i + 1,
                           line.startswith("static"), False,
                           "\n".join(lines[first:i + 1]).split("=", 1)[1])
        i += 1


def variables(text):
    """The parameters and variables of a function, by their declarations."""
    opening = text.find("{")
    if opening < 0:
        return set()
    names = set(re.findall(r"(\w+)(?:\[\w*\])*\s*[,)]", text[:opening]))
    names.update(re.findall(r"\(\*(\w+)\)\(", text))
    for statement in re.split(r"[;{}]|\bfor \(", text[opening:]):
        word = re.match(r"\s*(?:(?:static|const|unsigned|struct|enum|union)\s+)*"
                        r"([A-Za-z_]\w*)\b[\s*]+(?:const\s+)?\**\w", statement)
        if not word or word.group(1) in KEYWORDS:
            continue
        while "(" in statement and ")" in statement:
            shorter = re.sub(r"\([^()]*\)", "", statement)
            if shorter == statement:
                break
            statement = shorter
        for one in statement.split(","):
            names.update(re.findall(r"(\w+)\s*(?:\[[^\]]*\])*\s*$", one.split("=")[0]))
    return names


class Program:
    """All that a program consists of."""

    def __init__(self, name):
        folder = name.replace("thp_", "", 1)
        self.own = [name + ".c"] + sorted(glob.glob(folder + "/*.c"))
        self.nodes = collections.defaultdict(list)
        paths = glob.glob("lib/*.h") + glob.glob("lib/*/*.[ch]")
        for path in self.own + sorted(paths):
            for node in definitions(path):
                self.nodes[node.name].append(node)

    def find(self, name, path):
        """What a name means in a file."""
        own = path in self.own
        seen = [n for n in self.nodes[name]
                if n.file == path or (own and n.file in self.own) or
                (not n.static and n.file not in self.own)]
        near = [n for n in seen if n.file == path]
        return (near or seen)[:1]

    def called(self, node):
        """What a node leads to."""
        known = variables(node.text) if node.counts else set()
        for member, name in IDENTIFIER.findall(node.text):
            if not member and name in self.nodes and name not in known and name != node.name:
                yield from self.find(name, node.file)

    def graph(self, roots):
        """What the roots lead to, at any distance: a dictionary of sets."""
        todo, edges = list(roots), {}
        while todo:
            node = todo.pop()
            if node not in edges:
                edges[node] = set(self.called(node))
                todo += edges[node]
        return edges


def reached(edges, roots, without=None, leaves=()):
    """What the roots reach without a call, or without what leaves lead to."""
    seen, todo = set(roots), list(roots)
    while todo:
        node = todo.pop()
        if node.file.startswith(leaves):
            continue
        for n in edges[node]:
            if (node, n) != without and n not in seen:
                seen.add(n)
                todo.append(n)
    return [n for n in seen if n.counts]


def figures(nodes):
    """The size of it all, for people."""
    return "%d functions and macros, %d lines, %d files" % (
        len(nodes), sum(n.last - n.first + 1 for n in nodes), len({n.file for n in nodes}))


def main():
    """Prints the figures, the files and the calls."""
    if len(sys.argv) < 4:
        sys.exit("usage: closure.py PROGRAM FIXTURE TEST [FUNCTION...]")
    name, fixture, test = sys.argv[1:4]
    program = Program(name)
    roots = []
    for root in ["@%s.%s" % (fixture, test)] + sys.argv[4:]:
        if not program.nodes[root]:
            sys.exit("closure.py: no %s in %s" % (root, name))
        roots += program.nodes[root][:1]
    edges = program.graph(roots)
    nodes = reached(edges, roots)
    print(figures(nodes))
    print(figures(reached(edges, roots, leaves=LEAVES)) + ", with %s as leaves" %
          " and ".join(leaf.rstrip("/") for leaf in LEAVES))
    for path in sorted({n.file for n in nodes}):
        names = [n.name for n in sorted(nodes, key=lambda n: n.first) if n.file == path]
        print("%5d %s: %s" % (len(names), path, " ".join(names)))
    cost = [(len(nodes) - len(reached(edges, roots, (a, b))), a.name, b.name)
            for a in edges for b in edges[a]]
    for n, caller, callee in sorted(cost, reverse=True)[:25]:
        print("%5d %s -> %s" % (n, caller, callee))


main()
