head -c 20000 /dev/zero | tr '\0' '[' > deep.yaml
