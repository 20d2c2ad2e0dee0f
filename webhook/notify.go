package webhook

import toolscache "k8s.io/client-go/tools/cache"

// notify wakes up the receiver of a channel of capacity one. It never blocks: notifications that were not received
// yet count as one.
func notify(receiver chan<- struct{}) {
	select {
	case receiver <- struct{}{}:
	default:
	}
}

// onChange returns the handlers of an informer that notify a receiver of every event.
func onChange(receiver chan<- struct{}) toolscache.ResourceEventHandlerFuncs {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify(receiver) },
		UpdateFunc: func(any, any) { notify(receiver) },
		DeleteFunc: func(any) { notify(receiver) },
	}
}
