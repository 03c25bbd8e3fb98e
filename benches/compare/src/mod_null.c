/*
 * The floor of the comparison: a handler that answers each case with the fixed bytes a WSGI
 * application would have answered with, in the fewest calls httpd allows. What a target costs
 * beyond it is the price of running Python. Compiled with apxs when the comparison starts.
 */

#include "httpd.h"
#include "http_config.h"
#include "http_core.h"
#include "http_protocol.h"
#include "util_filter.h"
#include "apr_strings.h"

#define PIECE 1024

struct body {
    const char *name, *content_type, *path;
    char *data;
    apr_size_t length;
};

static struct body bodies[] = {
    {"hello", "text/plain"},
    {"json", "application/json"},
    {"large", "application/octet-stream"},
    {"stream", "text/plain"},
    {"post", "text/plain"},
    {"file", "application/octet-stream"},
    {"cpu", "text/plain"},
    {NULL},
};

/* NullBodies DIRECTORY: where the files NAME.body are. */
static const char *read_bodies(cmd_parms *cmd, void *config, const char *directory)
{
    for (struct body *body = bodies; body->name; body++) {
        apr_file_t *file;
        apr_finfo_t info;
        body->path = apr_pstrcat(cmd->pool, directory, "/", body->name, ".body", NULL);
        if (apr_file_open(&file, body->path, APR_READ, 0, cmd->pool)
            || apr_file_info_get(&info, APR_FINFO_SIZE, file))
            return apr_pstrcat(cmd->pool, "cannot open ", body->path, NULL);
        body->length = (apr_size_t)info.size;
        body->data = apr_palloc(cmd->pool, body->length);
        if (apr_file_read_full(file, body->data, body->length, NULL))
            return apr_pstrcat(cmd->pool, "cannot read ", body->path, NULL);
        apr_file_close(file);
    }
    return NULL;
}

static const struct body *body_of(const request_rec *r)
{
    for (const struct body *body = bodies; body->name; body++)
        if (!strcmp(r->uri + 1, body->name))
            return body;
    return NULL;
}

static int read_request_body(request_rec *r)
{
    char buffer[8192];
    int status = ap_setup_client_block(r, REQUEST_CHUNKED_ERROR);
    if (status != OK || !ap_should_client_block(r))
        return status;
    long count;
    while ((count = ap_get_client_block(r, buffer, sizeof buffer)) > 0)
        ;
    return count < 0 ? HTTP_BAD_REQUEST : OK;
}

static apr_status_t send_pieces(request_rec *r, apr_bucket_brigade *bb, const struct body *body)
{
    for (apr_size_t start = 0; start < body->length; start += PIECE) {
        apr_size_t rest = body->length - start;
        APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_immortal_create(
            body->data + start, rest < PIECE ? rest : PIECE, bb->bucket_alloc));
        APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_flush_create(bb->bucket_alloc));
        apr_status_t status = ap_pass_brigade(r->output_filters, bb);
        if (status)
            return status;
        apr_brigade_cleanup(bb);
    }
    return APR_SUCCESS;
}

static apr_status_t add_file(request_rec *r, apr_bucket_brigade *bb, const struct body *body)
{
    apr_file_t *file;
    apr_status_t status = apr_file_open(&file, body->path, APR_READ, 0, r->pool);
    if (status == APR_SUCCESS)
        apr_brigade_insert_file(bb, file, 0, (apr_off_t)body->length, r->pool);
    return status;
}

static int answer(request_rec *r)
{
    if (!r->handler || strcmp(r->handler, "null"))
        return DECLINED;
    const struct body *body = body_of(r);
    if (!body)
        return HTTP_NOT_FOUND;
    int status = read_request_body(r);
    if (status != OK)
        return status;

    apr_bucket_brigade *bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    ap_set_content_type(r, body->content_type);
    if (!strcmp(body->name, "stream")) {
        if (send_pieces(r, bb, body))
            return OK;
    } else {
        ap_set_content_length(r, (apr_off_t)body->length);
        if (strcmp(body->name, "file"))
            APR_BRIGADE_INSERT_TAIL(
                bb, apr_bucket_immortal_create(body->data, body->length, bb->bucket_alloc));
        else if (add_file(r, bb, body))
            return HTTP_INTERNAL_SERVER_ERROR;
    }
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(bb->bucket_alloc));
    ap_pass_brigade(r->output_filters, bb);
    return OK;
}

static const command_rec directives[] = {
    AP_INIT_TAKE1("NullBodies", read_bodies, NULL, RSRC_CONF, "the directory of the bodies"),
    {NULL},
};

static void hooks(apr_pool_t *pool)
{
    ap_hook_handler(answer, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(null) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, directives, hooks,
};
