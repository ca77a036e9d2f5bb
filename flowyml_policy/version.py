"""The version of this package, which the OPA library built with it carries too."""

VERSION = "0.1.0"
