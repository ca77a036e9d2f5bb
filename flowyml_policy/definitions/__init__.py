"""Stack definitions: from bytes to a typed StackDefinition whose every value knows its line.

Rules:
- Schema A (`flowyml/v1`) is what the model speaks; FlowyML's own `flowyml.io/v1` is converted, and nothing dropped.
- Reading is strict: an unknown key, a value of another type, a second meaning is a problem, never a guess.
- A document that is no stack is a problem too (`definition.kind`); nothing that was named is passed over.
- All problems of a document are reported, in file order, each with what, where and how to write it.
- Names that are unsafe are no matter of form: the rule `naming` judges them.
- Everything raised is a leaf of `errors`; pydantic's and PyYAML's exceptions are chained as causes.
"""
