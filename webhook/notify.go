package webhook

// notify wakes up the receiver of a channel of capacity one. It never blocks: notifications that were not received
// yet count as one.
func notify(receiver chan<- struct{}) {
	select {
	case receiver <- struct{}{}:
	default:
	}
}
