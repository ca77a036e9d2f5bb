"""Bundles: policy as an artefact that is built from a recipe, signed, inspected and compared.

Rules:
- The same recipe and files give the same bytes, on any day and in any folder.
- What would deny every stack, or keep OPA from loading a bundle, is found when the bundle is built.
- OPA compiles, tests, signs and verifies. Nothing of that is written again here.
- Rules that somebody else wrote are evaluated in processes of their own, never in this one.

Import what is needed from its module: this file imports nothing, so that no command pays for the rest.
"""
