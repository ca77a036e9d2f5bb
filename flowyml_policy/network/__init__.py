"""How servers are asked over HTTP, which addresses are asked at all, and when none is.

Rules:
- There is one client, `http.Client`. What it raises is `HttpFailure`, or `AddressRefused`: each caller makes them into
  its own errors.
- Registries of images are asked by `oci_registry`, with the logins that `credentials` finds. It raises RegistryFailure.
- Only `http` loads urllib3, which takes a tenth of a second; `address`, `deadline` and `limits` load nothing.
- Nothing is kept of any answer. Callers that keep one do so by its kind, its final address and `Response.trust`.
"""
