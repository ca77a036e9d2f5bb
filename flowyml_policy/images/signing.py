"""What must have signed an image, and what has: put into its facts, with what signed attestations say of it."""

from __future__ import annotations

from flowyml_policy.errors.images import ScanReportInvalid
from flowyml_policy.images import attestations
from flowyml_policy.images.envelopes import Statement
from flowyml_policy.images.registry import RegistryInspector
from flowyml_policy.images.scans import merged
from flowyml_policy.images.signature_reader import FoundSignatures, SignatureReader
from flowyml_policy.images.signatures import SigningPolicy
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.records.policy_input import ImageFacts, ScanFacts
from flowyml_policy.records.protocols import ContentStore
from flowyml_policy.references.image import ImageReference
from flowyml_policy.settings.settings import Settings


class ImageSigning:
    """Looks for signatures as `policy.images.cosign_keys` demands, also of an image that a daemon knows by its digest.

    Safe from many threads.

    All key files are read at once. Raises SigningKeyUnusable for one that is no public key, SettingsInvalid for a
    `need` that cannot be met.
    """

    def __init__(self, settings: Settings, store: ContentStore) -> None:
        self._policy = SigningPolicy(settings)
        self._policy.read_all()
        self._store = store

    def demanded(self, facts: ImageFacts) -> ImageFacts:
        """`facts` with what must have signed the image."""
        demands = self._policy.demands(_reference(facts))
        return facts.model_copy(update={"signing": demands}) if demands else facts

    def signed(self, facts: ImageFacts, inspector: RegistryInspector, deadline: Deadline) -> ImageFacts:
        """`facts` with what must have signed the image and, where it was examined, what has."""
        facts = self.demanded(facts)
        if not facts.signing or not facts.inspected or facts.digest is None:
            return facts
        platforms = [one.digest for one in facts.platforms if one.digest is not None]
        found = SignatureReader(inspector.registry, self._store).read(
            inspector.endpoint_of(facts),
            facts.digest,
            platforms,
            demands=facts.signing,
            keys=self._policy.keys(facts.signing),
            deadline=deadline,
            attestations=True,
        )
        return _based(_scanned(facts.model_copy(update={"signatures": found.signatures}), found), found)


def _scanned(facts: ImageFacts, found: FoundSignatures) -> ImageFacts:
    """`facts` with the scans that were signed, and why one that is listed could not be read.

    A list that cannot be read is no such problem: enough good signatures allow, whatever that place answers.
    """
    scans: list[ScanFacts] = []
    problems = [why for claims, why in found.unread.items() if claims == attestations.SCAN]
    for statement in found.statements:
        said = _scan_or_problem(statement, facts)
        problems += [said] if isinstance(said, str) else []
        scans += [said] if isinstance(said, ScanFacts) else []
    return facts.model_copy(update={"scan": merged(scans), "scan_problem": problems[0] if problems else None})


def _scan_or_problem(statement: Statement, facts: ImageFacts) -> ScanFacts | str | None:
    try:
        return attestations.scan_of(statement, facts)
    except ScanReportInvalid as error:
        return f"one that is signed is {error.message}"


def _based(facts: ImageFacts, found: FoundSignatures) -> ImageFacts:
    """`facts` with the base of each platform that signed provenance tells.

    Provenance does not say which of several images was the base, nor do some of all statements: then none is believed.
    """
    if found.unread.keys() - {attestations.SCAN}:
        return facts
    platforms = []
    for platform in facts.platforms:
        about = {facts.digest, platform.digest}
        told = [attestations.bases_of(one) for one in found.statements if not about.isdisjoint(one.subjects)]
        bases = {base for some in told for base in some or ()}
        is_told = len(bases) == 1 and None not in told
        platforms.append(platform.model_copy(update={"base": bases.pop()}) if is_told else platform)
    return facts.model_copy(update={"platforms": tuple(platforms)})


def _reference(facts: ImageFacts) -> ImageReference:
    return ImageReference(facts.registry or "", facts.repository or "", facts.tag, facts.digest)
