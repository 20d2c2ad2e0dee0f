package webhook

// notify makes who waits for a channel of capacity one look again. Several changes are one.
func notify(waiting chan<- struct{}) {
	select {
	case waiting <- struct{}{}:
	default:
	}
}
