"""How servers are asked: one HTTP client, its deadlines, and when nothing is asked at all."""
