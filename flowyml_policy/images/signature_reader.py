"""Looks for an image's signatures in its registry: bundles that refer to it, and the older `.sig` tag.

Rules:
- Both places are looked in until enough is found. A place that cannot be read is a fact of its own (`unknown`), so
  that a registry cannot turn a signature into none by failing.
- The image's digest first; the digests of its platforms only where that does not suffice, until one of them does not
  either.
- Requests are few: what refers to the image (1, or 2 where the fallback tag has it), one bundle (its manifest and its
  blob), the `.sig` tag (its manifest, and its payload, which is the same for all keys). Bundles that are said to be
  signatures come first; one that is said to be an attestation is read only where attestations are wanted.
- At most `most_requests` for a digest, and 2 more for each further key that a demand needs. What is cut off by that is
  `unknown`. Documents are kept by digest, so that the next look goes on where this one ended.
- What was found is kept and verified again at each use, without a request. That nothing was found is never kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from flowyml_policy.images.envelopes import Statement
from flowyml_policy.images.signature_search import SignatureSearch
from flowyml_policy.images.signatures import PublicKey
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_registry import Endpoint, OciRegistry
from flowyml_policy.records.policy_input import SignatureFacts, SigningDemand
from flowyml_policy.records.protocols import ContentStore

MOST_REQUESTS: Final = 5
_FOR_EACH_FURTHER_KEY: Final = 2


@dataclass(frozen=True)
class FoundSignatures:
    """What was found. `statements` are attestations that the keys signed, `requests` how many the registry was sent."""

    signatures: tuple[SignatureFacts, ...] = ()
    statements: tuple[Statement, ...] = ()
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

        `keys` are those of `demands`. Where `attestations` are wanted, the requests that are left go to them. Whatever
        the registry answers becomes a fact; what is raised is the store's FlowymlPolicyError.
        """
        further = max((demand.need for demand in demands), default=1) - 1
        most = self._most_requests + _FOR_EACH_FURTHER_KEY * further

        def search_of(one: str) -> SignatureSearch:
            return SignatureSearch(self._registry, self._store, endpoint, one, keys, deadline, most)

        image = search_of(digest)
        is_enough = partial(_are_enough, demands=demands)
        image.run(is_enough, attestations=attestations)
        searches = [image]
        if not is_enough(image.facts):
            is_enough = partial(_are_enough, demands=demands, also=image.facts)
            for platform in (one for one in dict.fromkeys(platforms) if one != digest):
                searches.append(search_of(platform))
                searches[-1].run(is_enough, is_asked=not image.is_unknown)
                if not is_enough(searches[-1].facts):
                    break
        return FoundSignatures(
            tuple(fact for search in searches for fact in search.facts),
            tuple(statement for search in searches for statement in search.statements),
            sum(search.requests for search in searches),
        )


def _are_enough(
    facts: Iterable[SignatureFacts], *, demands: Sequence[SigningDemand], also: Iterable[SignatureFacts] = ()
) -> bool:
    signers = {fact.key for fact in (*facts, *also) if fact.ok}
    return all(sum(key.id in signers for key in demand.keys) >= demand.need for demand in demands)
