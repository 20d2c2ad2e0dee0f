package webhook

// notify wakes up the receiver of a channel of capacity one. It never blocks: notifications that have not been received yet
// count as one.
func notify(receiver chan<- struct{}) {
	select {
	case receiver <- struct{}{}:
	default:
	}
}
