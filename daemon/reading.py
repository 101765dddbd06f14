"""From what the model saw to what the report says: sides, operating points, identity."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from daemon import __version__, identity
from daemon.analysis import Analysis
from dicom_io.findings import (
    Algorithm,
    Evaluation,
    Exclusion,
    ImageRead,
    NodeFinding,
    OperatingPoint,
    Reason,
    SideFinding,
    StudyFindings,
)
from model import bundle_file
from model.bundle_file import Bundle


@dataclass(frozen=True)
class Reader:
    """Who reads: the node, its bundle, and how scores become words."""

    bundle: Bundle
    aggregation: str  # "max" or "mean" over the nodes of a side
    operating_point: OperatingPoint
    rule_in: OperatingPoint | None  # "suspected" from its threshold on; None: never
    rule_out: OperatingPoint | None  # "not suspected" below its threshold; None: never
    ae_title: str
    node_id: str

    def findings(
        self,
        study_uid: str,
        version: int,
        analysis: Analysis,
        predecessors: Sequence[tuple[str, str, str]] = (),
        replaces: int | None = None,
    ) -> StudyFindings:
        """Put an analysis into words."""
        return StudyFindings(
            study_instance_uid=study_uid,
            version=version,
            node_ae_title=self.ae_title,
            device_uid=identity.uid(self.node_id, "device", self.bundle.digest),
            software_version=__version__,
            algorithm=_algorithm(self.bundle),
            operating_point=self.operating_point,
            images=analysis.images,
            nodes=analysis.nodes,
            sides=self._sides(analysis.images, analysis.nodes),
            exclusions=analysis.exclusions,
            not_evaluable=None if analysis.images else _main_reason(analysis.exclusions),
            predecessors=tuple(predecessors),
            replaces=replaces,
            aggregation=self.aggregation,
            # what a demonstration never says needs no limits
            rule_in=None if self.bundle.demonstration else self.rule_in,
            rule_out=None if self.bundle.demonstration else self.rule_out,
        )

    def _sides(
        self, images: Sequence[ImageRead], nodes: Sequence[NodeFinding]
    ) -> tuple[SideFinding, ...]:
        known = {image.laterality for image in images}
        return tuple(
            self._side(side, [node for node in nodes if node.laterality == side])
            for side in sorted(known, key=lambda s: (s is None, s != "R"))
        )

    def _side(self, laterality: str | None, nodes: Sequence[NodeFinding]) -> SideFinding:
        if not nodes:
            return SideFinding(laterality, (), None, None)
        combine = max if self.aggregation == "max" else fmean
        score = float(combine(node.score for node in nodes))
        return SideFinding(
            laterality, tuple(node.number for node in nodes), score, self._evaluate(score)
        )

    def _evaluate(self, score: float) -> Evaluation | None:
        if self.bundle.demonstration:
            return None
        if self.rule_in is not None and score >= self.rule_in.threshold:
            return Evaluation.SUSPECTED
        if self.rule_out is not None and score < self.rule_out.threshold:
            return Evaluation.NOT_SUSPECTED
        return Evaluation.INDETERMINATE


def _algorithm(bundle: Bundle) -> Algorithm:
    return Algorithm(
        name=bundle.name,
        version=f"{bundle.version} {bundle.digest[:8]}",
        digest=bundle.digest,
        architecture=bundle.architecture,
        intended_use=f"{bundle.intended_use} Population: {bundle.card.intended_population}",
        demonstration=bundle.demonstration,
    )


def _main_reason(exclusions: Sequence[Exclusion]) -> Reason:
    """Return the reason that most images share; the first of them on a tie."""
    reasons = [exclusion.reason for exclusion in exclusions]
    return max(reasons, key=reasons.count) if reasons else Reason.NO_IMAGE


def reader(
    bundle: Bundle,
    *,
    aggregation: str | None,
    operating_point: str | None,
    ae_title: str,
    node_id: str,
) -> Reader:
    """Build a `Reader`; `operating_point` names one of the bundle's, None takes its first.

    Raises
    ------
    KeyError
        The bundle has no operating point of that name.
    """
    points = {point.name: _point(point) for point in bundle.operating_points}
    chosen = operating_point or bundle.operating_points[0].name
    return Reader(
        bundle=bundle,
        aggregation=aggregation or bundle.card.aggregation,
        operating_point=points[chosen],
        rule_in=points.get("rule_in"),
        rule_out=points.get("rule_out"),
        ae_title=ae_title,
        node_id=node_id,
    )


def _point(declared: bundle_file.OperatingPoint) -> OperatingPoint:
    return OperatingPoint(
        name=declared.name,
        threshold=declared.threshold,
        sensitivity=declared.sensitivity,
        specificity=declared.specificity,
        sensitivity_ci95=declared.sensitivity_ci95,
        specificity_ci95=declared.specificity_ci95,
        prevalence=declared.prevalence,
    )
