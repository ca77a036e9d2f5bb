"""The mask: secrets never reach OPA, the audit, or a screen.

Rules:
- A text is masked once, where it enters a record: `policy_input`, `findings`, `reports`, `events`, `registry` and
  `pins` make the records that hold text from outside. An explanation's step, a doctor's check and stderr mask what they
  are given. The audit masks nothing: it refuses what is not masked.
- Only the secret part of a value becomes `masked:<detector>`: of a URL with a password, the password.
- Masking what is masked changes nothing; no JSON value makes it fail; time grows linearly with the text.
- What merely looks random but is public stays: digests, uuids, commit ids, URLs, image references, public keys.
- A reference to a secret is not a secret: `${DB_PASSWORD}`, `env:HF_TOKEN`, `vault://...`, `token_env`.
- Expressions stand here as text: `re` compiles one when it is first needed, and keeps it. Most texts need two.
"""
