#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# Writes the results of cases.awk, on stdin, as JSON or JUnit XML. The JSON has the layout
# of "kunit.py parse --json", plus the reason of each result that is no pass.

import json
import sys


def read(lines):
    facts, cases = {}, {}
    for line in lines:
        kind, *field = line.rstrip("\n").split("\t")
        if kind == "fact":
            facts[field[0]] = field[1]
        elif kind == "case":
            cases.setdefault(field[0], []).append(field[1:])
    return facts, cases


def counts(cases):
    status = [case[1] for case in cases]
    return {
        "tests": len(status),
        "passed": status.count("PASS"),
        "failed": status.count("FAIL"),
        "crashed": status.count("ERROR"),
        "skipped": status.count("SKIP"),
        "errors": 0,
    }


def as_json(facts, programs):
    groups, single = [], []
    for program, cases in programs.items():
        members = []
        for name, status, reason, _ in cases:
            case = {"name": name or program, "status": status}
            if reason:
                case["reason"] = reason
            members.append(case)
        if len(members) == 1 and not cases[0][0] or not program:
            single += members
        else:
            groups.append({"name": program, "sub_groups": [], "test_cases": members,
                           "misc": counts(cases)})
    whole = [case for cases in programs.values() for case in cases]
    return json.dumps({"name": "thp_lazy_pte", "arch": facts.get("arch", ""),
                       "kernel": facts.get("kernel"), "facts": facts, "sub_groups": groups,
                       "test_cases": single, "misc": counts(whole)}, indent=4)


def as_junit(facts, programs):
    try:
        from junit_xml import TestCase, TestSuite, to_xml_report_string
    except ImportError:
        sys.exit("JUnit XML needs the Python module junit_xml: python3-junit.xml of Debian")
    suites = []
    for program, cases in programs.items():
        members = []
        for name, status, reason, log in cases:
            case = TestCase(name or program, classname=f"thp_lazy_pte.{program}")
            log = log.replace("\\n", "\n").replace("\\\\", "\\")
            if status == "FAIL":
                case.add_failure_info(message=reason, output=log)
            elif status == "ERROR":
                case.add_error_info(message=reason, output=log)
            elif status == "SKIP":
                case.add_skipped_info(message=reason)
            members.append(case)
        suites.append(TestSuite(program or "(not run)", members, properties=facts))
    return to_xml_report_string(suites)


if __name__ == "__main__":
    print({"json": as_json, "junit": as_junit}[sys.argv[1]](*read(sys.stdin)))
