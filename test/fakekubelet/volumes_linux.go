package fakekubelet

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// readVolumes writes the files of all volumes that the container mounts, if they have changed. The error is non-nil if
// an object that a volume needs does not exist.
func (p *Pod) readVolumes(ctx context.Context) error {
	if p.volumes == nil {
		p.volumes = map[string]string{}
	}
	for _, volume := range p.object.Spec.Volumes {
		folder := filepath.Join(p.dir, "volumes", volume.Name)
		files, err := p.files(ctx, volume, folder)
		if err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
		if err := replace(folder, files); err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
		p.volumes[volume.Name] = folder
	}
	return nil
}

// files returns the files of a volume.
func (p *Pod) files(ctx context.Context, volume corev1.Volume, folder string) (map[string][]byte, error) {
	switch {
	case volume.Secret != nil:
		return p.secret(ctx, volume.Secret.SecretName, volume.Secret.Items)
	case volume.ConfigMap != nil:
		return p.configMap(ctx, volume.ConfigMap.Name, volume.ConfigMap.Items)
	case volume.Projected != nil:
		files := map[string][]byte{}
		for _, source := range volume.Projected.Sources {
			var some map[string][]byte
			var err error
			switch {
			case source.Secret != nil:
				some, err = p.secret(ctx, source.Secret.Name, source.Secret.Items)
			case source.ConfigMap != nil:
				some, err = p.configMap(ctx, source.ConfigMap.Name, source.ConfigMap.Items)
			case source.ServiceAccountToken != nil:
				some, err = p.token(ctx, source.ServiceAccountToken, folder)
			case source.DownwardAPI != nil:
				some = map[string][]byte{}
				for _, item := range source.DownwardAPI.Items {
					value, e := p.field(item.FieldRef)
					if e != nil {
						return nil, e
					}
					some[item.Path] = []byte(value)
				}
			default:
				err = fmt.Errorf("a source of this kind is not supported: %v", source)
			}
			if err != nil {
				return nil, err
			}
			maps.Copy(files, some)
		}
		return files, nil
	default:
		return nil, fmt.Errorf("a volume of this kind is not supported: %v", volume.VolumeSource)
	}
}

func (p *Pod) secret(ctx context.Context, name string, items []corev1.KeyToPath) (map[string][]byte, error) {
	secret, err := p.kubelet.client.CoreV1().Secrets(p.object.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return selected(secret.Data, items)
}

func (p *Pod) configMap(ctx context.Context, name string, items []corev1.KeyToPath) (map[string][]byte, error) {
	object, err := p.kubelet.client.CoreV1().ConfigMaps(p.object.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	for key, value := range object.Data {
		data[key] = []byte(value)
	}
	return selected(data, items)
}

// selected returns the files of items, or all if there are none.
func selected(data map[string][]byte, items []corev1.KeyToPath) (map[string][]byte, error) {
	if len(items) == 0 {
		return data, nil
	}
	files := map[string][]byte{}
	for _, item := range items {
		content, ok := data[item.Key]
		if !ok {
			return nil, fmt.Errorf("there is no key %s", item.Key)
		}
		files[item.Path] = content
	}
	return files, nil
}

// token returns a token for the ServiceAccount of the pod, as the API server issues it for kubelets. It is not renewed:
// no test takes an hour.
func (p *Pod) token(
	ctx context.Context, projection *corev1.ServiceAccountTokenProjection, folder string,
) (map[string][]byte, error) {
	if token, err := os.ReadFile(filepath.Join(folder, projection.Path)); err == nil {
		return map[string][]byte{projection.Path: token}, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: projection.ExpirationSeconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: p.object.Name, UID: p.object.UID,
		},
	}}
	if projection.Audience != "" {
		request.Spec.Audiences = []string{projection.Audience}
	}
	issued, err := p.kubelet.client.CoreV1().ServiceAccounts(p.object.Namespace).
		CreateToken(ctx, p.object.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return map[string][]byte{projection.Path: []byte(issued.Status.Token)}, nil
}

// replace writes the files of a volume, if they have changed. As in a kubelet, all of them change at once: they are
// links through ..data, which is replaced.
func replace(folder string, files map[string][]byte) error {
	const data = "..data"
	former := map[string][]byte{}
	entries, err := os.ReadDir(filepath.Join(folder, data))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, entry := range entries {
		if former[entry.Name()], err = os.ReadFile(filepath.Join(folder, data, entry.Name())); err != nil {
			return err
		}
	}
	if entries != nil && reflect.DeepEqual(former, files) {
		return nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	next, err := os.MkdirTemp(folder, ".."+time.Now().Format("2006_01_02_15_04_05."))
	if err != nil {
		return err
	}
	if err := os.Chmod(next, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(next, name), content, 0o644); err != nil {
			return err
		}
	}
	old, err := os.Readlink(filepath.Join(folder, data))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	link := filepath.Join(folder, data+"_tmp")
	if err := os.Symlink(filepath.Base(next), link); err != nil {
		return err
	}
	if err := os.Rename(link, filepath.Join(folder, data)); err != nil {
		return err
	}
	for name := range files {
		if err := os.Symlink(filepath.Join(data, name), filepath.Join(folder, name)); err != nil && !os.IsExist(err) {
			return err
		}
	}
	for name := range former {
		if _, stays := files[name]; !stays {
			if err := os.Remove(filepath.Join(folder, name)); err != nil {
				return err
			}
		}
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(folder, old))
}
