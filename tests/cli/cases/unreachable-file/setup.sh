chmod 000 closed
