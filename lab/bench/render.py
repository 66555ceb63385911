#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
The one judge and painter of make bench; the rows are described in lab/bench.sh.

render.py collect PART FILE   the lines that a part prints on stdout, on stdin:
                              shows its progress, judges its rows, stores them
render.py report DIR PART...  prints a table of each DIR/PART.json, draws
                              DIR/PART.svg, and counts targets
"""
import fnmatch
import json
import os
import platform
import subprocess
import sys
import time

NEEDED = ("name", "unit", "median", "lo", "hi")
NUMBERS = ("x", "median", "lo", "hi")


def targets(part):
    """The lines of lab/bench/targets.tsv that are of a part."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "targets.tsv")) as file:
        lines = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    return [line for line in lines if line[0] == part]


def fits(row, line):
    _, name, series, x, note, _ = line
    return all(fnmatch.fnmatchcase(row.get(key, ""), pattern)
               for key, pattern in (("name", name), ("series", series), ("note", note))) and \
        (x == "*" or "%g" % row.get("x", 0) in x.split(","))


def judge(row, lines):
    """Give the row its target. Is it met? None if it has none."""
    row["target"] = next((line[-1] for line in lines if fits(row, line)), None)
    if row["target"] is None:
        return None
    sign, limit = row["target"].split()
    if sign == "<=":
        return row["median"] <= float(limit)
    if sign == ">=":
        return row["median"] >= float(limit)
    raise ValueError("target " + row["target"])


class Progress:
    """At most one line in so many seconds; one that moves on a terminal."""

    def __init__(self, part):
        self.part = part
        self.begun = None
        self.shown = 0.0
        self.tty = sys.stderr.isatty()

    def show(self, done, total):
        now = time.monotonic()
        if self.begun is None:
            # What came before the first step was not measuring.
            self.begun = (now, done)
            return
        if done < total and now - self.shown < (0.5 if self.tty else 5):
            return
        self.shown = now
        left = (now - self.begun[0]) / max(done - self.begun[1], 1) * (total - done)
        print("%slab: %s: %d of %d rounds, %d s left" %
              ("\r\033[K" if self.tty else "", self.part, done, total, left + 0.5),
              end="" if self.tty and done < total else "\n", file=sys.stderr, flush=True)


def collect(part, path):
    rows = []
    load = round(os.getloadavg()[0], 1)
    progress = Progress(part)
    lines = targets(part)
    for line in sys.stdin:
        kind, *fields = line.rstrip("\n").split("\t")
        if kind == "progress":
            progress.show(*map(int, fields))
        if kind != "row":
            continue
        row = {"part": part}
        for key, _, value in (field.partition("=") for field in fields):
            if value:
                row[key] = float(value) if key in NUMBERS else value
        missing = [key for key in NEEDED if key not in row]
        if missing:
            sys.exit("render.py: %s: no %s in %s" % (part, missing, line))
        row["met"] = judge(row, lines)
        row["load"] = load
        rows.append(row)
    with open(path, "w") as file:
        file.write("[\n%s\n]\n" % ",\n".join(json.dumps(row) for row in rows))
    for line in lines:
        if line[4] == "*" and not any(fits(row, line) for row in rows):
            sys.exit("render.py: no row for the target of %s: %s" % (part, line[1]))


def number(value):
    """Three significant digits, and no exponent."""
    size = abs(value)
    return "%.*f" % (0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3, value)


def label(row):
    return row["name"] + (", " + row["series"] if "series" in row else "") + \
        (", x = %g" % row["x"] if "x" in row else "")


def table(part, rows):
    verdict = {None: "", True: "met", False: "missed"}
    cells = [("", "median", "spread", "", "target", "", "")]
    for row in rows:
        cells.append((label(row), number(row["median"]),
                      number(row["lo"]) + " .. " + number(row["hi"]),
                      row["unit"], row["target"] or "", verdict[row["met"]],
                      row.get("note", "")))
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    print("\n%s (spread: %s; load at the start: %s)" %
          (part, rows[0].get("spread", "unsaid"), rows[0]["load"]))
    for line in cells:
        print(("  " + "  ".join(cell.rjust(width) if i in (1, 2) else cell.ljust(width)
                                for i, (cell, width) in enumerate(zip(line, widths)))).rstrip())


def quoted(text):
    return '"%s"' % text.replace("\\", "").replace('"', "")


def plot(part, rows, path):
    """Bars for each unit, grouped by series; or curves, where there is an x."""
    rows = [row for row in rows if row["unit"] != "ratio" and "drawn" not in row]
    if not rows:
        return
    units = list(dict.fromkeys(row["unit"] for row in rows))
    script = ["set terminal svg size 1000,%d noenhanced background 'white'" % (520 * len(units)),
              "set output '%s'" % path,
              "set multiplot layout %d,1 title %s" % (len(units), quoted("make bench: " + part))]
    for unit in units:
        of_unit = [row for row in rows if row["unit"] == unit]
        curves = "x" in of_unit[0]
        key = "name" if curves else "series"
        groups = list(dict.fromkeys(row.get(key, "") for row in of_unit))
        values = [row["median"] for row in of_unit]
        log = min(values) > 0 and max(values) > 20 * min(values)
        script += ["set ylabel '%s'" % unit, "set grid ytics", "set key outside top center horizontal",
                   "set logscale y" if log else "unset logscale y"]
        if not log:
            script.append("set yrange [0:*]")
        xs = [row["x"] for row in of_unit] if curves else [0]
        script.append("set logscale x 2" if min(xs) > 0 and max(xs) > 20 * min(xs) else
                      "unset logscale x")
        commands = []
        names = list(dict.fromkeys(row["name"] for row in of_unit))
        for i, group in enumerate(groups):
            lines = ["$data%d << EOD" % i]
            for row in of_unit:
                if row.get(key, "") != group:
                    continue
                x = row["x"] if curves else \
                    names.index(row["name"]) + (i - (len(groups) - 1) / 2) * 0.8 / len(groups)
                lines.append("%g %g %g %g" % (x, row["median"], row["lo"], row["hi"]))
            script += lines + ["EOD"]
            title = "title " + quoted(group) if group else "notitle"
            if curves:
                commands.append("$data%d using 1:2:3:4 with yerrorlines %s" % (i, title))
            else:
                commands.append("$data%d using 1:2:(%g) with boxes fill solid 0.5 lc %d %s" %
                                (i, 0.8 / len(groups), i + 1, title))
                commands.append("$data%d using 1:3:(0):($4-$3) with vectors nohead lc 'black' notitle" % i)
        if not curves:
            script += ["set xrange [-0.6:%g]" % (len(names) - 0.4),
                       "set xtics rotate by -35 (%s)" %
                       ", ".join("%s %d" % (quoted(name), i) for i, name in enumerate(names))]
        script.append("plot " + ", ".join(commands))
    script.append("unset multiplot")
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=True)


def machine():
    model = platform.machine()
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return "%s, %d CPUs, Linux %s" % (model, os.cpu_count(), platform.release())


def report(directory, parts):
    met = missed = 0
    print(machine())
    for part in parts:
        path = os.path.join(directory, part)
        with open(path + ".json") as file:
            rows = json.load(file)
        if not rows:
            print("\n%s: no figures" % part)
            continue
        table(part, rows)
        plot(part, rows, path + ".svg")
        met += sum(row["met"] is True for row in rows)
        missed += sum(row["met"] is False for row in rows)
    print("\nJSON and plots: %s" % os.path.join(directory, "*.json, *.svg"))
    print("%d targets met, %d missed" % (met, missed))


if sys.argv[1:2] == ["collect"] and len(sys.argv) == 4:
    collect(*sys.argv[2:])
elif sys.argv[1:2] == ["report"] and len(sys.argv) > 3:
    report(sys.argv[2], sys.argv[3:])
else:
    sys.exit(__doc__)
