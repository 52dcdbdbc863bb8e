# SPDX-License-Identifier: GPL-2.0-only
"""Runs tests, several at a time, and tells how they went."""

import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed

from .console import Failure
from .registry import Bench

TAIL_LINES = 40


def run_one(test):
    """Runs a test; what went wrong, if anything, and the seconds it took."""
    started = time.monotonic()
    bench = Bench(test)
    problem = None
    try:
        test.function(bench, **test.arguments)
    except Failure as failure:
        problem = str(failure)
    except Exception:  # pylint: disable=broad-except
        # A mistake in the test is that test's failure, and no reason not to run the others.
        problem = traceback.format_exc()
    finally:
        bench.close()
    if problem:
        problem += f"\n--- last lines of {bench.log}\n{tail(bench.log)}\n---"
    return problem, time.monotonic() - started


def tail(log):
    """The last lines of a log."""
    lines = log.read_bytes().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


def run_all(tests, jobs):
    """Runs the tests; whether all passed. Prints in the form of Rust's test programs."""
    print(f"running {len(tests)} tests", flush=True)
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(run_one, test): test for test in tests}
        for done in as_completed(running):
            name = running[done].name
            problem, seconds = done.result()
            print(f"test {name} ... {'FAILED' if problem else 'ok'} ({seconds:.0f} s)", flush=True)
            if problem:
                failed.append(name)
                print(f"{name}: {problem}", flush=True)
    if failed:
        print(f"failed: {' '.join(sorted(failed))}")
    verdict = "FAILED" if failed else "ok"
    print(f"test result: {verdict}. {len(tests) - len(failed)} passed; {len(failed)} failed", flush=True)
    return not failed
