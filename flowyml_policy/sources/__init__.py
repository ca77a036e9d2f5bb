"""Where definitions are kept: files, git repositories, http servers; one seam, and the search inside a source."""
