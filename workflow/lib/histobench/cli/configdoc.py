"""The reference page of the configuration, made from the schemas so that it cannot drift from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from histobench.config.schemas import schema

_INTRODUCTION = """\
<!-- Made by `make docs` from workflow/schemas; edit the descriptions there. -->

# Configuration

A run is described by seven kinds of YAML files:

| kind | where | says |
|---|---|---|
| configuration | `config/*.yaml`, or any file of yours | which experiments run, and what changes for this run |
| experiment | `config/experiments/NAME.yaml` | one protocol on one cohort, and the methods compared |
| cohort | `config/cohorts/NAME.yaml` | where files come from, who reads them, which section belongs to which patient |
| method | `config/methods/NAME.yaml` | how a method is built, what it needs, where its settings come from |
| encoder | `config/encoders/NAME.yaml` | how an image network is built, what it expects, its weights and their terms |
| QC profile | `config/qc_profiles/NAME.yaml` | which spots and genes are kept |
| transform | `config/transforms/NAME.yaml` | what methods learn of the counts |

`config/config.yaml` is always read; `--configfile mine.yaml` is laid over it. Keys with values are merged, lists and single
values are replaced. Under `experiments:`, `cohorts:`, `methods:`, `encoders:`, `qc_profiles:` and `transforms:` a configuration file may change any key of the file of
that name, or define one that has no file:

```yaml
# mine.yaml:  snakemake --cores 8 --use-conda --configfile mine.yaml
run: [her2st_lopo, mine]
mirrors:
  her2st: [/data/her2st]              # looked in before any download
methods:
  stnet:
    params: {epochs: 20}              # one key of config/methods/stnet.yaml
experiments:
  her2st_lopo:
    seeds: [0, 1, 2]
  mine:                               # an experiment without a file of its own
    title: Two arms of one method
    cohort: her2st
    methods:
      knn:
      knn_20: {method: knn, title: k-NN with k = 20, params: {k: 20}}
      thitogene_as_released:          # the arm `as_released` of config/methods/thitogene.yaml
```

Everything is checked before the first job: an unknown key, a wrong type or settings that mean nothing together stop the run
with one sentence, and so does a parameter of a method that its class does not take. Write numbers as `1.0e-3`: YAML reads `1e-3`
as text. Names are text as they are written (`NO`, `007`, `12:30`); only `true`, `false`, `null` and plain numbers are something
else. A key that stands twice is refused. Targets stand before `--configfile`, or after `--`: what follows it is read as further
configuration files. A configuration is code: `reader`, `entry` and `archives.locate` name functions that are run, so use
files only of people whose code you would run. Threads, memory and partitions are not here but in
the rules, the methods' `resources` and the profile (`workflow/profiles`). Changing a key reruns what depends on its value and
nothing else; comments and the order of keys do not matter.
"""

_FILES = (
    ("config", "Configuration files"),
    ("experiment", "Experiments"),
    ("cohort", "Cohorts"),
    ("method", "Methods"),
    ("encoder", "Encoders"),
    ("qc_profile", "QC profiles"),
    ("transform", "Target transforms"),
)


def _type(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return " \\| ".join(f"`{value}`" for value in rule["enum"])
    if "const" in rule:
        return f"`{rule['const']}`"
    if "oneOf" in rule:
        return " or ".join(_type(choice) for choice in rule["oneOf"])
    kinds = rule.get("type", "any")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    names = {"object": "mapping", "array": "list", "string": "text", "boolean": "bool"}
    words = " or ".join(names.get(kind, kind) for kind in kinds)
    if "minimum" in rule:
        words += f" ≥ {rule['minimum']}"
    if "exclusiveMinimum" in rule:
        words += f" > {rule['exclusiveMinimum']}"
    return words


def _default(rule: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    if "default" not in rule:
        return ""
    value = (
        yaml.safe_dump(rule["default"], default_flow_style=True, width=10_000).strip().removesuffix("\n...")
    )
    return "" if value == "''" else f"`{value}`"


def _rows(rules: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    required = set(rules.get("required", ()))
    for key, rule in rules.get("properties", {}).items():
        text = " ".join(rule.get("description", "").split())
        if rule.get("examples"):
            example = yaml.safe_dump(rule["examples"][0], default_flow_style=True, width=10_000).strip()
            text += f" Example: `{example}`."
        text = text.replace("|", "\\|")
        yield f"| `{prefix}{key}` | {_type(rule)} | {_default(rule, key in required)} | {text} |"
        yield from _rows(rule, f"{prefix}{key}.")
        extra = rule.get("additionalProperties")
        if isinstance(extra, dict):
            yield from _rows(extra, f"{prefix}{key}.NAME.")
        if isinstance(rule.get("items"), dict):
            yield from _rows(rule["items"], f"{prefix}{key}[].")


def document(project: Path) -> str:
    """Return the text of ``config/README.md``.

    Parameters
    ----------
    project
        Root of the checkout.
    """
    parts = [_INTRODUCTION]
    for kind, title in _FILES:
        rules = schema(project, kind)
        about = " ".join(rules["description"].split())
        parts.append(f"\n## {title}\n\n{about}\n\n| key | type | default | meaning |\n|---|---|---|---|\n")
        parts.append("\n".join(_rows(rules)) + "\n")
    return "".join(parts)
