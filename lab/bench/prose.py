#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
prose.py TABLE: are the figures that documents quote those that make bench wrote?

A line of TABLE is a document, a text in it, and where its figures are from, by tabs.
The text has {} for each figure, and any white space for a space. For each {} there is
an expression, in order, separated by semicolons: PART:NAME, PART:NAME@X or
PART:NAME,SERIES is the median of a row of make bench; two of them may be divided by or subtracted from each
other (" / ", " - "). Rows are looked up in lab/bench/figures: PART.json as the bench
wrote it, or else the bars of PART.svg, whose axis is logarithmic. commit:NAME is the
number of a patch of the upstream series.

Says what differs by more than half of the last digit that is quoted, and of a plot by
more than it can be read to, and what text is not in its document.
"""
import json
import math
import os
import re
import sys

FIGURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "figures")
COMMITS = os.path.join(FIGURES, "../../../patches/series/commits.tsv")
NUMBER = r"(\d+(?:\.\d+)?)"
PLOT = 1 / 1500


def plotted(path):
    """The heights of the bars, by the names and series of their rows."""
    with open(path) as file:
        text = file.read()
    ticks = [(float(y), math.log10(float(label))) for y, label in re.findall(
        r"d='M[\d.]+,([\d.]+) [^']*'/>\s*<g [^>]*text-anchor=\"end\">\s*<text>\s*([\d.]+)<", text)]
    names = [(float(x), name) for x, name in re.findall(
        r"d='M([\d.]+),[^']*'/>\s*<g transform=\"[^\"]*rotate[^>]*>\s*<text>([^<]*)<", text)]
    (y0, v0), (y1, v1) = ticks[0], ticks[-1]
    bars = {}
    for block in re.split(r"<g id=\"gnuplot_plot_", text)[1:]:
        series = re.search(r"<text>([^<]*)</text>", block)
        boxes = [[[float(n) for n in point.split(",")] for point in points.split()]
                 for points in re.findall(r"<polygon [^>]*points = '([^']*)'", block)]
        if not boxes:
            continue
        # The one in the legend does not stand on the axis.
        ground = max(y for box in boxes for _, y in box)
        for box in boxes:
            left, right = min(x for x, _ in box), max(x for x, _ in box)
            name = min(names, key=lambda n: abs(n[0] - (left + right) / 2))[1]
            top = min(y for _, y in box)
            if max(y for _, y in box) == ground:
                bars[name, series.group(1) if series else ""] = \
                    10 ** (v0 + (top - y0) * (v1 - v0) / (y1 - y0))
    return bars


def commits():
    """The numbers of the series' patches, by their names."""
    with open(COMMITS) as file:
        names = [line.split("\t")[0] for line in file if line[0] not in "-#"]
    return {(name, ""): i + 1 for i, name in enumerate(dict.fromkeys(names))}


def rows(part, known={}):
    if part not in known:
        path = os.path.join(FIGURES, part)
        if part == "commit":
            known[part] = commits(), 0
        elif os.path.exists(path + ".json"):
            with open(path + ".json") as file:
                known[part] = {(row["name"] + ("@%g" % row["x"] if "x" in row else ""),
                                row.get("series", "")): row["median"]
                               for row in json.load(file)}, 0
        else:
            known[part] = plotted(path + ".svg"), PLOT
    return known[part]


def value(expression):
    """What it comes to, and how exactly that is known."""
    for sign in (" / ", " - "):
        if sign in expression:
            (a, da), (b, db) = (value(side) for side in expression.split(sign, 1))
            return (a / b, a / b * (da / a + db / b)) if sign == " / " else (a - b, da + db)
    part, name = expression.split(":", 1)
    known, slack = rows(part)
    # A name may have commas, too.
    key = (name, "") if (name, "") in known else tuple(name.partition(",")[::2])
    return known[key], known[key] * slack


def differences(document, text, expressions):
    pattern = re.escape(text).replace(r"\ ", r"\s+").replace(r"\{\}", NUMBER)
    with open(document) as file:
        found = re.search(pattern, file.read())
    if not found:
        yield "has no '%s'" % text
        return
    for quoted, expression in zip(found.groups(), expressions, strict=True):
        measured, slack = value(expression)
        digit = 10 ** -len(quoted.partition(".")[2])
        if abs(float(quoted) - measured) > digit * 0.5001 + slack:
            yield "'%s' says %s, the bench %.*f (%s)" % (
                " ".join(found.group(0).split()), quoted,
                len(quoted.partition(".")[2]), measured, expression)


with open(sys.argv[1]) as table:
    for line in table:
        if line.startswith("#"):
            continue
        document, text, expressions = line.rstrip("\n").split("\t")
        for difference in differences(document, text, expressions.split("; ")):
            print("%s: %s" % (document, difference))
