"""The look for what signs one digest: the requests, what is kept of them, and what became of each place.

The rules are those of `images.signature_reader`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from flowyml_policy.documents.canonical import digest as digest_of
from flowyml_policy.images.attestations import WANTED
from flowyml_policy.images.envelopes import BUNDLE_FAMILY, SIGNATURE, SIMPLE_SIGNING, Statement
from flowyml_policy.images.signature_manifests import (
    PREDICATE_TYPE,
    Candidate,
    annotations_of,
    candidate_of,
    layers_of,
    object_of,
    text_of,
)
from flowyml_policy.images.signatures import PublicKey, attestation, examine_bundle, examine_payload
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_failures import RegistryFailure
from flowyml_policy.network.oci_referrers import Referrers
from flowyml_policy.network.oci_registry import Endpoint, OciRegistry
from flowyml_policy.records.policy_input import SignatureFacts
from flowyml_policy.records.protocols import ContentStore
from flowyml_policy.records.record import Json

MOST_FOR_ATTESTATIONS: Final = 20
_MOST_FOR_LIST: Final = 2
_MOST_LAYERS: Final = 32
_MOST_PROOFS: Final = 32
_OF_ONE_DOCUMENT: Final = frozenset({"missing", "mismatch", "too_large", "invalid"})
_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_CERTIFICATE: Final = "dev.sigstore.cosign/certificate"

_Form: TypeAlias = Literal["bundle", "tag"]
_IsEnough: TypeAlias = Callable[[Iterable[SignatureFacts]], bool]


class _Proof(NamedTuple):
    """A document that showed a good signature; `signature` is that of the older layout, which stands beside it."""

    form: _Form
    document: str
    signature: str = ""


@dataclass
class SignatureSearch:
    """The look for what signs one digest. `most` are the requests that signatures may take.

    `unread` has what may be an attestation that is wanted and could not be read: its predicate type as it is said, None
    where that is not known, and why.
    """

    registry: OciRegistry
    store: ContentStore | None
    endpoint: Endpoint
    digest: str
    keys: Collection[PublicKey]
    deadline: Deadline
    most: int
    requests: int = 0
    statements: list[Statement] = field(default_factory=list)
    unread: dict[str | None, str] = field(default_factory=dict)
    _spent: int = 0
    _listed: Referrers | None = None
    _waiting: deque[Candidate] = field(default_factory=deque)
    _dropped: list[Candidate] = field(default_factory=list)
    _facts: dict[SignatureFacts, None] = field(default_factory=dict)
    _proofs: dict[_Proof, None] = field(default_factory=dict)
    _aside: list[Candidate] = field(default_factory=list)
    _attested: dict[str, None] = field(default_factory=dict)
    _documents: dict[str, bytes] = field(default_factory=dict)

    @property
    def facts(self) -> tuple[SignatureFacts, ...]:
        return tuple(self._facts)

    @property
    def is_unknown(self) -> bool:
        """Whether a place could not be read to its end."""
        return any(fact.problem == "unknown" for fact in self._facts)

    def run(self, is_enough: _IsEnough, *, is_asked: bool = True) -> None:
        """Look for signatures until there are enough; without `is_asked` only at what is kept."""
        self._remember()
        if not is_asked or is_enough(self._facts):
            return
        self._list()
        self._read_bundles(self._waiting, is_enough, spared=1)
        if not is_enough(self._facts):
            self._read_tag()
        self._read_bundles(self._waiting, is_enough, spared=0)
        if self._waiting and not is_enough(self._facts):
            self._note_cut("bundle")
        for one in self._aside:
            self._note("bundle", attestation(str(one.claims)).reason, "invalid")
        self._keep()

    def attest(self, most: int) -> int:
        """Read the attestations that are wanted, with at most `most` requests for documents; how many it took."""
        self._list()
        spent, self._spent, self.most = self._spent, 0, most
        error = None if self._listed is None else self._listed.error
        if error is not None and error.reason == "offline":
            self._recall_attested()
        else:
            if error is not None:
                self.unread[None] = error.what
            every = (*self._aside, *self._dropped, *self._waiting)
            # What the list says to be a signature, or another artefact, is no attestation that a key of ours made.
            self._read_attestations(deque(one for one in every if one.may_attest(WANTED)))
            self._keep_attested()
        took, self._spent = self._spent, spent
        self._keep()
        return took

    def _list(self) -> None:
        """Ask once what refers to the digest and may be a signature; the likeliest waits first."""
        if self._listed is not None:
            return
        listed = self._listed = self.registry.referrers(self.endpoint, self.digest, self.deadline)
        self.requests += listed.requests
        # A list of many pages, which are bounded, leaves the same requests, so that each look comes further.
        self._spent += min(listed.requests, _MOST_FOR_LIST)
        if listed.error is not None:
            self._note("bundle", listed.error.what, "unknown")
        candidates = sorted(map(candidate_of, listed.descriptors), key=lambda one: one.rank)
        self._aside += (one for one in candidates if one.is_attestation)
        self._waiting += (one for one in candidates if not one.is_attestation)

    def _read_bundles(self, waiting: deque[Candidate], is_enough: _IsEnough, *, spared: int) -> None:
        """Read what is waiting, but for `spared` requests, until there is enough.

        One document that cannot be had does not stand before the others; a registry that gives none does.
        """
        while waiting and not is_enough(self._facts):
            with self._noting_failure(waiting):
                if not self._is_read(waiting[0], spared=spared):
                    return
                waiting.popleft()

    @contextmanager
    def _noting_failure(self, waiting: deque[Candidate]) -> Iterator[None]:
        """Note what the registry does not give, and drop it; with the rest, if it gives nothing."""
        try:
            yield
        except RegistryFailure as error:
            self._note_failure("bundle", error)
            self._dropped.append(waiting.popleft())
            if error.reason not in _OF_ONE_DOCUMENT:
                self._dropped += waiting
                waiting.clear()

    def _is_read(self, one: Candidate, *, spared: int) -> bool:
        """Read a candidate; false where that would take more requests than there are."""
        if one.blob is None:
            manifest = self._document(one.digest, is_manifest=True, spared=spared)
            if manifest is None:
                return False
            one.blob = self._bundle_in(one, manifest)
            if one.blob is None:
                return True
            if one.is_attestation:
                self._aside.append(one)
                return True
        # What says that it is a signature may have the request that is spared for the other place.
        data = self._document(one.blob, is_manifest=False, spared=0 if one.claims == SIGNATURE else spared)
        if data is None:
            return False
        self._examine(_Proof("bundle", one.blob), data)
        return True

    def _bundle_in(self, one: Candidate, manifest: bytes) -> str | None:
        """The digest of the bundle that a manifest holds, whatever the list said of it; another artefact has none."""
        found = object_of(manifest)
        if found is not None and "layers" not in found and "manifests" in found:
            return None
        layers = None if found is None else layers_of(found)
        if found is None or layers is None:
            self._note("bundle", "a manifest that refers to the image cannot be read", "invalid")
            return None
        bundles = [layer for layer in layers if str(layer.get("mediaType")).startswith(BUNDLE_FAMILY)]
        if len(bundles) > 1:
            self._note("bundle", "a manifest that refers to the image holds several bundles", "invalid")
        one.claims = text_of(annotations_of(found).get(PREDICATE_TYPE)) or one.claims
        return str(bundles[0]["digest"]) if len(bundles) == 1 else None

    def _read_tag(self) -> None:
        """Read the older layout: a manifest under a tag made of the digest, a layer a signature."""
        if self._left < 1:
            self._note_cut("tag")
            return
        tag = f"{self.digest.replace(':', '-')}.sig"
        self._count()
        try:
            document = self.registry.manifest(self.endpoint, tag, self.deadline)
        except RegistryFailure as error:
            if error.reason != "missing":
                self._note_failure("tag", error)
            return
        layers = layers_of(object_of(document.data) or {})
        if layers is None:
            self._note("tag", f"the manifest under {tag} cannot be read", "invalid")
            return
        if len(layers) > _MOST_LAYERS:
            what = f"the manifest under {tag} has {len(layers)} layers, and no more than {_MOST_LAYERS} are read"
            self._note("tag", what, "unknown")
            return
        try:
            for layer in layers:
                if layer.get("mediaType") == SIMPLE_SIGNING and not self._is_layer_read(layer):
                    self._note_cut("tag")
                    return
        except RegistryFailure as error:
            self._note_failure("tag", error)

    def _is_layer_read(self, layer: dict[str, Json]) -> bool:
        said = annotations_of(layer)
        payload = self._document(str(layer["digest"]), is_manifest=False)
        if payload is None:
            return False
        proof = _Proof("tag", str(layer["digest"]), text_of(said.get(_SIGNATURE)) or "")
        self._examine(proof, payload, by_certificate=_CERTIFICATE in said)
        return True

    def _read_attestations(self, waiting: deque[Candidate]) -> None:
        """Read what is waiting, and note what cannot be read; nothing more where the registry gives nothing."""
        cut = f"more refers to it than {MOST_FOR_ATTESTATIONS} requests can read; look again to go on"
        while waiting:
            one = waiting.popleft()
            try:
                if not self._is_attestation_read(one):
                    self.unread |= {left.claims: cut for left in (one, *waiting)}
                    return
            except RegistryFailure as error:
                self.unread[one.claims] = _what_failed(error)
                if error.reason not in _OF_ONE_DOCUMENT:
                    self.unread |= {left.claims: error.what for left in waiting}
                    return

    def _is_attestation_read(self, one: Candidate) -> bool:
        """Read what may be an attestation that is wanted; false where there is no request left for it."""
        if one.blob is None:
            manifest = self._document(one.digest, is_manifest=True)
            if manifest is None:
                return False
            one.blob = self._bundle_in(one, manifest)
        if one.blob is None or not one.may_attest(WANTED):
            return True
        data = self._document(one.blob, is_manifest=False)
        if data is None:
            return False
        self._examine(_Proof("bundle", one.blob), data)
        return True

    def _examine(self, proof: _Proof, data: bytes, *, by_certificate: bool = False, is_kept: bool = False) -> None:
        """Take what a document shows; of one that was kept, only what is good."""
        if proof.form == "bundle":
            evidence = examine_bundle(data, self.digest, self.keys)
            facts = evidence.facts
            if evidence.statement is not None:
                self.statements.append(evidence.statement)
                self._attested[proof.document] = None
        else:
            facts = examine_payload(data, proof.signature, self.digest, self.keys, by_certificate=by_certificate)
        self._facts |= dict.fromkeys(fact for fact in facts if fact.ok or not is_kept)
        if any(fact.ok for fact in facts):
            self._proofs[proof] = None

    @property
    def _left(self) -> int:
        return self.most - self._spent

    def _document(self, digest: str, *, is_manifest: bool, spared: int = 0) -> bytes | None:
        """The document of a digest, kept or from the registry; None where there is no request left for it.

        Raises RegistryFailure; what is listed and missing is no absence of a signature.
        """
        kept = self._kept(digest)
        if kept is not None:
            return kept
        if self._left <= spared:
            return None
        self._count()
        if is_manifest:
            data = self.registry.manifest(self.endpoint, digest, self.deadline).data
        else:
            data = self.registry.blob(self.endpoint, digest, self.deadline)
        self._documents[digest] = data
        if self.store is not None:
            self.store.put(*self._key("image-signature", digest), data=data)
        return data

    def _count(self) -> None:
        self.requests += 1
        self._spent += 1

    def _kept(self, digest: str) -> bytes | None:
        if digest in self._documents:
            return self._documents[digest]
        kept = None if self.store is None else self.store.get(*self._key("image-signature", digest))
        return kept.data if kept is not None and digest_of(kept.data) == digest else None

    def _remember(self) -> None:
        """Verify again what showed good signatures before."""
        for proof in self._kept_proofs():
            data = self._kept(proof.document)
            if data is not None:
                self._examine(proof, data, is_kept=True)

    def _keep(self) -> None:
        """Keep which documents showed good signatures, beside what showed others'."""
        kept = self._kept_proofs()
        new = [proof for proof in self._proofs if proof not in kept]
        if self.store is not None and new:
            data = json.dumps([*new, *kept][:_MOST_PROOFS]).encode()
            self.store.put(*self._key("image-signed", self.digest), data=data)

    def _keep_attested(self) -> None:
        """Keep which documents are attestations by our keys, once all were read."""
        if self.store is not None and not self.unread:
            self.store.put(*self._key("image-attested", self.digest), data=json.dumps([*self._attested]).encode())

    def _recall_attested(self) -> None:
        """Verify again, where nothing is asked, the attestations that the last look found."""
        kept = None if self.store is None else self.store.get(*self._key("image-attested", self.digest))
        found = None if kept is None else _texts(kept.data)
        read = {digest: self._kept(digest) for digest in found or ()}
        if found is None or None in read.values():
            self.unread[None] = "nothing is asked offline, and what attests the image is not remembered"
        for digest, data in read.items():
            if data is not None:
                self._examine(_Proof("bundle", digest), data)

    def _kept_proofs(self) -> list[_Proof]:
        kept = None if self.store is None else self.store.get(*self._key("image-signed", self.digest))
        return [] if kept is None else _proofs(kept.data)

    def _key(self, kind: str, digest: str) -> tuple[str, ...]:
        return kind, self.endpoint.place, self.endpoint.repository, digest

    def _note_failure(self, form: _Form, error: RegistryFailure) -> None:
        self._note(form, _what_failed(error), "unknown")

    def _note_cut(self, form: _Form) -> None:
        self._note(form, f"there is more to read than {self.most} requests allow for; look again to go on", "unknown")

    def _note(self, form: _Form, reason: str, problem: Literal["invalid", "unknown"]) -> None:
        fact = SignatureFacts(key=None, form=form, digest=self.digest, ok=False, reason=reason, problem=problem)
        self._facts[fact] = None


def _what_failed(error: RegistryFailure) -> str:
    return "the registry lists a document that it does not have" if error.reason == "missing" else error.what


def _proofs(data: bytes) -> list[_Proof]:
    """The proofs that were kept; none of what cannot be read."""
    with suppress(ValueError, TypeError, RecursionError):
        found = [_Proof(*(str(part) for part in one)) for one in json.loads(data)]  # type: ignore[arg-type]
        return [proof for proof in found if proof.form in {"bundle", "tag"}]
    return []


def _texts(data: bytes) -> list[str] | None:
    """The list of texts that was kept; None for what cannot be read."""
    with suppress(ValueError, RecursionError):
        found = json.loads(data)
        if isinstance(found, list) and all(isinstance(one, str) for one in found):
            return found
    return None
