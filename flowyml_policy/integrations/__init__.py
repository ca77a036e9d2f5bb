"""Where this program is joined to others. Each file is the only importer of what it joins."""
