"""ST-Net with a network of its own for every named gene (He et al. 2020, Supp. Fig. 12).

The paper asks whether genes that are learnt together help each other. Here each named gene is all that its
network predicts; the other genes of the panel are one network's, so that the method predicts every gene and
its tables have no gap. Nothing but the number of outputs differs from :mod:`histobench.methods.stnet`.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from histobench.bounds import ParametersOf
from histobench.errors import UserError
from histobench.methods.stnet import STNet
from histobench.seeds import seed_for
from histobench.training.contract import Context, Extent, Prediction, SectionData, TrainingLog
from histobench.training.store import read_weights, require, store_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class STNetApart:
    """Train one network per named gene, and one for all others.

    Parameters
    ----------
    genes
        Genes that have a network each; None for every gene of the panel. Those that the panel does not hold
        are recorded and left out.
    network
        Parameters of every network, as in ``stnet.yaml``.
    """

    genes: Sequence[str] | None = None
    network: Annotated[Mapping[str, Any] | None, ParametersOf("histobench.methods.stnet:STNet")] = None

    @cached_property
    def learnt(self) -> dict[tuple[str, ...], STNet]:
        """Networks by the genes that they predict; empty before ``fit`` or ``load``."""
        return {}

    @cached_property
    def panel(self) -> list[str]:
        """The genes of a prediction, in order; empty before ``fit`` or ``load``."""
        return []

    def _network(self) -> STNet:
        return STNet(**(self.network or {}))

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Train the networks one after the other; one that was finished before a stop is not trained again.

        Raises
        ------
        UserError
            No named gene is in the panel.
        """
        named = context.genes if self.genes is None else self.genes
        apart = [gene for gene in context.genes if gene in set(named)]
        absent = [gene for gene in named if gene not in set(context.genes)]
        if not apart:
            raise UserError(
                f"genes: none of {', '.join(named)} is in the panel, so that no gene has a network of its "
                "own; name genes of the panel."
            )
        if absent:
            log.warning("not in the panel, and so without a network: %s", ", ".join(absent))
        others = tuple(gene for gene in context.genes if gene not in set(apart))
        self.learnt.clear()
        self.panel[:] = context.genes
        told = TrainingLog(facts={"genes_apart": ", ".join(apart), "genes_absent": ", ".join(absent)})
        for group in [*((gene,) for gene in apart), *([others] if others else [])]:
            label = group[0] if len(group) == 1 else "others"
            columns = [self.panel.index(gene) for gene in group]
            # by what it predicts, and not by its place: a panel in another order trains the same networks
            own = replace(context, genes=group, seed=seed_for(context.seed, "apart", *group))
            if context.checkpoints is not None:
                own = replace(own, checkpoints=context.checkpoints / f"network{len(self.learnt)}")
            log.info("network of %s", label)
            network = self._network()
            one = network.fit(_of_genes(train, columns), _of_genes(valid, columns), own)
            self.learnt[group] = network
            told.history += [{**row, "stage": f"{row['stage']} {label}"} for row in one.history]
            told.facts["parameters"] = int(told.facts.get("parameters", 0)) + int(one.facts["parameters"])
            kept = {key: one.facts[key] for key in ("selection", "selection_unit", "device", "precision")}
            told.facts |= {**kept, f"epochs {label}": one.facts["epochs"]}
        return told

    def stored(self, extent: Extent) -> int:
        """Return the bytes of a network for each gene apart, and of one for the others."""
        apart = extent.genes if self.genes is None else min(len(self.genes), extent.genes)
        sizes = [1] * apart + ([extent.genes - apart] if extent.genes > apart else [])
        return sum(self._network().stored(replace(extent, genes=size)) for size in sizes)

    def predict(self, section: SectionData) -> Prediction:
        """Ask every network for its genes. There is no latent space that they share."""
        expression = np.empty((len(section), len(self.panel)), np.float32)
        for group, network in self.learnt.items():
            columns = [self.panel.index(gene) for gene in group]
            expression[:, columns] = network.predict(section).expression
        return Prediction(expression)

    def save(self, folder: Path) -> None:
        """Write all networks into one file."""
        stored = []
        for group, network in self.learnt.items():
            with tempfile.TemporaryDirectory() as own:
                network.save(Path(own))
                stored.append({"genes": list(group), "weights": read_weights(own)})
        store_weights(folder, {"panel": list(self.panel), "networks": stored})

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote."""
        stored = read_weights(folder)
        self.learnt.clear()
        self.panel[:] = stored["panel"]
        for each in stored["networks"]:
            network = self._network()
            with tempfile.TemporaryDirectory() as own:
                store_weights(own, each["weights"])
                network.load(Path(own))
            self.learnt[tuple(each["genes"])] = network


def _of_genes(sections: Sequence[SectionData], columns: list[int]) -> list[SectionData]:
    """Return sections with the targets of some genes alone."""
    return [replace(section, targets=require(section, "targets")[:, columns]) for section in sections]
