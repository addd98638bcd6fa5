"""Clusters on the square lattice against a walk along bonds."""

import itertools

import numpy as np

from llckit.toys.spins.torus import Torus


def test_clusters_are_those_of_a_walk_along_bonds():
    random = np.random.default_rng(0)
    bonds = random.random((6, 5, 5, 2)) < 0.45
    number, labels = Torus(5, 6).clusters(bonds)
    found_labels = set()
    for row in range(6):
        links = {site: set() for site in itertools.product(range(5), repeat=2)}
        for (i, j), k in itertools.product(list(links), (0, 1)):
            if bonds[row, i, j, k]:
                other = (i, (j + 1) % 5) if k == 0 else ((i + 1) % 5, j)
                links[i, j].add(other)
                links[other].add((i, j))
        left = set(links)
        while left:
            cluster, queue = set(), [next(iter(left))]
            while queue:
                site = queue.pop()
                if site not in cluster:
                    cluster.add(site)
                    queue.extend(links[site])
            left -= cluster
            found = {labels[row, i, j] for i, j in cluster}
            assert len(found) == 1
            found_labels |= found
            assert (labels == found.pop()).sum() == len(cluster)
    assert len(found_labels) == number
