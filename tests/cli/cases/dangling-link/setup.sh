ln -s nowhere.yaml gone.yaml
