"""Two processes with one seed give the same predictions, bit for bit.

Within one process, hashes of strings, caches and the state of shared generators are the same for both runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from unit import described

METHODS = [
    file.stem
    for file in sorted(described.METHODS.glob("*.yaml"))
    if described.method(file.stem)["family"] in ("deep", "classical")
]
CODE = """
import hashlib, json, sys
import numpy as np
from unit import described
from histobench.training.conformance import ALL_GENES, GENES, make_study
from histobench.training.contract import Context
from histobench.training.entry import build_method

train, test = make_study()
context = Context(genes=GENES, all_genes=ALL_GENES, seed=7, device="cpu", weights="none", threads=1)
found = {}
for name in sys.argv[1:]:
    method = build_method(*described.tiny(name))
    method.fit(train, [], context)
    predicted = method.predict(test.without_truth())
    parts = [predicted.expression, predicted.tumour_probability, predicted.embedding]
    bits = b"".join(np.ascontiguousarray(part).tobytes() for part in parts if part is not None)
    found[name] = hashlib.sha256(bits).hexdigest()
print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_processes_with_one_seed_agree_bit_by_bit() -> None:
    processes = []
    for number in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": number}
        command = [sys.executable, "-c", CODE, *METHODS]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    runs = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    assert set(runs[0]) == set(METHODS)
    assert runs[0] == runs[1]
