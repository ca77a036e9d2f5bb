"""The stack registry: which content a stack's name and version stand for, now and for good.

Rules:
- (name, version) is immutable: the same content again changes nothing and says so, other content is refused with the
  difference. Versions that differ in build metadata alone are one version.
- A bare name means the highest release; a range or a bare name never means a pre-release by chance, nor a retired
  version. A retired version keeps its history; whoever asks for it exactly is told that it was retired.
- A document leaves a registry only if it has the digest it was registered with, wherever it was kept.
- The project's own file is written in one transaction, which the audit can join; neither package imports the other.
- Only leaves of RegistryError come out, the cause chained; nothing waits, or reads, without an end.
"""
