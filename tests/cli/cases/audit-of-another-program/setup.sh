mkdir .flowyml
python3 -c 'import sqlite3; sqlite3.connect(".flowyml/policy.db").executescript("CREATE TABLE notes (text); INSERT INTO notes VALUES (1)")'
