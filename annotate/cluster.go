package annotate

// Cluster gathers boxes that overlap and returns the clusters as indexes into boxes, in the order of their first boxes.
//
// The confidence filter comes first and the minimum size last, so every box that passes the filter is in exactly one
// cluster where MinClusterSize is 1. Between them runs the annotation API's greedy single pass (contract C.9): the first
// box that is left seeds a cluster and goes once through the boxes after it; a box joins when its IoU with any box that
// the cluster already has is strictly above t.IoU. A box that was passed is not tried again when the cluster grows, so
// the order of boxes matters: a chain whose middle comes last falls into two clusters.
//
// The list is taken as it is: equal boxes count as often as they occur and boxes that the API would refuse count too.
// What to make of them is for [Generate] to say. t must be valid.
//
// A pair of boxes is compared at most once: the time is quadratic in the number of boxes, memory linear.
func Cluster(boxes []Box, t Thresholds) [][]int {
	remaining := make([]candidate, 0, len(boxes))
	for i, b := range boxes {
		if t.keeps(b.Confidence) {
			remaining = append(remaining, candidate{measured: measure(b), index: i})
		}
	}
	clusters := [][]int{}
	for len(remaining) > 0 {
		var cluster []int
		cluster, remaining = takeCluster(remaining, t.IoU)
		if len(cluster) >= t.MinClusterSize {
			clusters = append(clusters, cluster)
		}
	}
	return clusters
}

// candidate is a box that waits for its cluster, with its place in the caller's list.
type candidate struct {
	measured
	index  int
	joined bool // the cluster that is being taken
}

// takeCluster takes the cluster of the first box out of remaining and returns what is left, in its order and in the
// same memory.
//
// A box joins by a member that stands before it, and the members before it are all there are when its turn comes. So
// instead of asking every box for all members, every member in its turn asks the boxes behind it: the same pairs, but
// with one side at rest, several times as fast.
func takeCluster(remaining []candidate, threshold float64) (cluster []int, left []candidate) {
	seed, others := &remaining[0], remaining[1:]
	cluster = append(cluster, seed.index)
	seed.gather(others, threshold)
	stay := 0
	for i := range others {
		if others[i].joined {
			cluster = append(cluster, others[i].index)
			others[i].gather(others[i+1:], threshold)
			continue
		}
		if stay != i { // nothing moves until the first has left
			others[stay] = others[i]
		}
		stay++
	}
	return cluster, others[:stay]
}

// gather marks those of others as joined that overlap the member by more than threshold, 0 to 1.
func (member *candidate) gather(others []candidate, threshold float64) {
	m := member.measured
	for i := range others {
		other := &others[i]
		// Most pairs lie apart. Their intersection is 0 and an IoU of 0 is above no threshold: no need to compute it.
		if other.joined || other.X1 >= m.X2 || other.X2 <= m.X1 || other.Y1 >= m.Y2 || other.Y2 <= m.Y1 {
			continue
		}
		if m.iou(&other.measured) > threshold {
			other.joined = true
		}
	}
}
