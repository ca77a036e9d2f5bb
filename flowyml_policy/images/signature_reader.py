"""Looks for an image's signatures in its registry: bundles that refer to it, and the older `.sig` tag.

Rules:
- Both places are looked in until enough is found. A place that cannot be read is a fact of its own (`unknown`), so
  that a registry cannot turn a signature into none by failing.
- The image's digest first; the digests of its platforms only where that does not suffice, until one of them does not
  either.
- Requests are few: what refers to the image (1, or 2 where the fallback tag has it), one bundle (its manifest and its
  blob), the `.sig` tag (its manifest, and its payload, which is the same for all keys). Bundles that are said to be
  signatures come first; one that is said to be an attestation is none.
- At most `most_requests` for a digest, and 2 more for each further key that a demand needs; of the pages of the list,
  which are bounded themselves, 2 count. What is cut off by that is `unknown`. Documents are kept by digest, so that
  the next look goes on where this one ended.
- Attestations are looked for at the image's digest and at those of all its platforms, whatever is signed. They have at
  most 20 requests of their own for the whole image, the lists not counted. One that cannot be read, be it cut off, is
  `unread`, so that nobody hides a scan by pushing others or by making the registry fail.
- Signatures that were found are kept and verified again at each use, without a request. That nothing was found is never
  kept. Which attestations a whole look found is kept for use offline alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from flowyml_policy.images.envelopes import Statement
from flowyml_policy.images.signature_search import MOST_FOR_ATTESTATIONS, SignatureSearch
from flowyml_policy.images.signatures import PublicKey
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_registry import Endpoint, OciRegistry
from flowyml_policy.records.policy_input import SignatureFacts, SigningDemand
from flowyml_policy.records.protocols import ContentStore

MOST_REQUESTS: Final = 5
_FOR_EACH_FURTHER_KEY: Final = 2


@dataclass(frozen=True)
class FoundSignatures:
    """What was found. `statements` are attestations that the keys signed, `requests` how many the registry was sent.

    `unread` has what may be an attestation and could not be read: its predicate type as it is said, or None, and why.
    """

    signatures: tuple[SignatureFacts, ...] = ()
    statements: tuple[Statement, ...] = ()
    unread: Mapping[str | None, str] = field(default_factory=dict)
    requests: int = 0


class SignatureReader:
    """Looks for signatures, one for a run. Safe from many threads."""

    def __init__(
        self, registry: OciRegistry, store: ContentStore | None = None, *, most_requests: int = MOST_REQUESTS
    ) -> None:
        self._registry = registry
        self._store = store
        self._most_requests = most_requests

    def read(
        self,
        endpoint: Endpoint,
        digest: str,
        platforms: Sequence[str],
        *,
        demands: Sequence[SigningDemand],
        keys: Collection[PublicKey],
        deadline: Deadline,
        attestations: bool = False,
    ) -> FoundSignatures:
        """What signs the image of `digest` and, where that is not enough for `demands`, its `platforms`.

        `keys` are those of `demands`. `attestations`: those of all digests are wanted as well. Whatever the registry
        answers becomes a fact; what is raised is the store's FlowymlPolicyError.
        """
        further = max((demand.need for demand in demands), default=1) - 1
        most = self._most_requests + _FOR_EACH_FURTHER_KEY * further
        searches = {
            one: SignatureSearch(self._registry, self._store, endpoint, one, keys, deadline, most)
            for one in (digest, *platforms)
        }
        _look(searches, digest, demands)
        if attestations:
            _attest(searches.values())
        every = tuple(searches.values())
        return FoundSignatures(
            tuple(fact for search in every for fact in search.facts),
            tuple(statement for search in every for statement in search.statements),
            {claims: why for search in every for claims, why in search.unread.items()},
            sum(search.requests for search in every),
        )


def _look(searches: Mapping[str, SignatureSearch], digest: str, demands: Sequence[SigningDemand]) -> None:
    """Look for signatures of `digest` and, where these do not suffice, of every other, until one has not enough."""
    image = searches[digest]
    is_enough = partial(_are_enough, demands=demands)
    image.run(is_enough)
    if is_enough(image.facts):
        return
    is_enough = partial(_are_enough, demands=demands, also=image.facts)
    for search in searches.values():
        if search is not image:
            search.run(is_enough, is_asked=not image.is_unknown)
            if not is_enough(search.facts):
                return


def _attest(searches: Iterable[SignatureSearch]) -> None:
    """Read the attestations of every digest, until one could not be read: then no more can make the image pass."""
    left = MOST_FOR_ATTESTATIONS
    for search in searches:
        left -= search.attest(left)
        if search.unread:
            return


def _are_enough(
    facts: Iterable[SignatureFacts], *, demands: Sequence[SigningDemand], also: Iterable[SignatureFacts] = ()
) -> bool:
    signers = {fact.key for fact in (*facts, *also) if fact.ok}
    return all(sum(key.id in signers for key in demand.keys) >= demand.need for demand in demands)
