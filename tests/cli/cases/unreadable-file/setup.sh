chmod 000 secret.yaml
