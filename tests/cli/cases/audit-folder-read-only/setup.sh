mkdir .flowyml && chmod 500 .flowyml
