printf 'apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: prod, version: "1.0.0"}\n' > "$(printf 'caf\351.yaml')"
