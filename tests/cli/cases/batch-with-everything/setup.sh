chmod 000 stacks/secret.yaml
