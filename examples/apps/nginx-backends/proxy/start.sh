# What the image nginx does: templates become configuration, and the container's name server stands in a variable.
set -eu
NGINX_LOCAL_RESOLVERS=$(awk '$1 == "nameserver" {print $2}' /etc/resolv.conf | paste --serial --delimiters=' ')
export NGINX_LOCAL_RESOLVERS
for template in /etc/nginx/templates/*.template; do
    envsubst "\$NGINX_LOCAL_RESOLVERS" < "$template" > "/etc/nginx/conf.d/$(basename "$template" .template)"
done
exec nginx -g 'daemon off; error_log /dev/stderr; '
