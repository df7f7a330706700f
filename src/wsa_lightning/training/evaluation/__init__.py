"""``test``: whole tracks scored by every metric, the files that say so, the teacher's scores kept between runs."""
