module recoup.dev/tests/cluster/programs/coredns

go 1.26.0
