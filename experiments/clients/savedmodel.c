/* Classifies images with an exported SavedModel with TensorFlow's C library, and prints one class index per line.

   savedmodel MODEL/1 IMAGES        IMAGES: an uncompressed uint8 IDX file, as in MNIST

To link with the library in TensorFlow's Python wheel, T being the installed folder `tensorflow`:
   gcc -O2 savedmodel.c -o savedmodel -I$T/include -L$T -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 \
       -Wl,-rpath,$T */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

#define BATCH 1000

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void check(const TF_Status *status, const char *what) {
    if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

/* Part of a protobuf message. */
typedef struct {
    const unsigned char *at, *end;
} Bytes;

static uint64_t read_varint(Bytes *message) {
    uint64_t value = 0;
    for (int shift = 0; message->at < message->end; shift += 7) {
        unsigned char byte = *message->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
    fail("MetaGraphDef", "cut off");
    return 0;
}

/* Takes the next field `number` that is a string or a message out of a message; returns 0 after the last. */
static int next_field(Bytes *message, uint64_t number, Bytes *field) {
    while (message->at < message->end) {
        uint64_t tag = read_varint(message), size = 0;
        switch (tag & 7) {
            case 0: read_varint(message); break;
            case 1: size = 8; break;
            case 2: size = read_varint(message); break;
            case 5: size = 4; break;
            default: fail("MetaGraphDef", "of an unknown form");
        }
        if (size > (uint64_t)(message->end - message->at)) fail("MetaGraphDef", "cut off");
        *field = (Bytes){message->at, message->at + size};
        message->at += size;
        if ((tag & 7) == 2 && tag >> 3 == number) return 1;
    }
    return 0;
}

/* Returns the value of a key in field `number`, a map from strings to messages. */
static Bytes find(Bytes message, uint64_t number, const char *key) {
    Bytes entry, name, value;
    while (next_field(&message, number, &entry)) {
        Bytes rest = entry;
        if (!next_field(&rest, 1, &name) || !next_field(&entry, 2, &value)) continue;
        if ((size_t)(name.end - name.at) == strlen(key) && !memcmp(name.at, key, strlen(key))) return value;
    }
    fail(key, "not in the model");
    return message;
}

/* Returns the graph's tensor for an input (field 1 of a signature) or output (field 2): their names may change. */
static TF_Output find_tensor(TF_Graph *graph, Bytes signature, uint64_t number, const char *key) {
    Bytes name, tensor = find(signature, number, key);
    char text[256] = "", *colon;
    if (!next_field(&tensor, 1, &name) || name.end - name.at >= (long)sizeof text) fail(key, "has no name");
    memcpy(text, name.at, name.end - name.at);
    if (!(colon = strchr(text, ':'))) fail(key, "has a name without an index");
    *colon = 0;
    TF_Output output = {TF_GraphOperationByName(graph, text), atoi(colon + 1)};
    if (!output.oper) fail(text, "not in the graph");
    return output;
}

static uint32_t read_size(FILE *file) {
    unsigned char b[4];
    if (fread(b, 1, 4, file) != 4) fail("images", "not an IDX file");
    return (uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
}

int main(int count, char **arguments) {
    if (count != 3) fail("usage", "savedmodel MODEL/1 IMAGES");
    FILE *file = fopen(arguments[2], "rb");
    if (!file) fail(arguments[2], "cannot be opened");
    if (read_size(file) != 0x803) fail(arguments[2], "not an IDX file of images");
    int64_t images = read_size(file), height = read_size(file), width = read_size(file);

    TF_Status *status = TF_NewStatus();
    TF_Graph *graph = TF_NewGraph();
    TF_Buffer *meta = TF_NewBuffer();
    TF_SessionOptions *options = TF_NewSessionOptions();
    const char *tags[] = {"serve"};
    TF_Session *session =
        TF_LoadSessionFromSavedModel(options, NULL, arguments[1], tags, 1, graph, meta, status);
    check(status, arguments[1]);
    Bytes all = {meta->data, (const unsigned char *)meta->data + meta->length};
    Bytes signature = find(all, 5, "serving_default"); /* field 5 of MetaGraphDef: signature_def */
    TF_Output input = find_tensor(graph, signature, 1, "images");
    TF_Output output = find_tensor(graph, signature, 2, "classes");

    for (int64_t left = images; left > 0; left -= BATCH) {
        int64_t dims[] = {left < BATCH ? left : BATCH, height, width};
        size_t size = (size_t)(dims[0] * height * width);
        TF_Tensor *pixels = TF_AllocateTensor(TF_UINT8, dims, 3, size), *classes = NULL;
        if (fread(TF_TensorData(pixels), 1, size, file) != size) fail(arguments[2], "cut off");
        TF_SessionRun(session, NULL, &input, &pixels, 1, &output, &classes, 1, NULL, 0, NULL, status);
        check(status, "serving_default");
        for (int64_t i = 0; i < dims[0]; i++) printf("%lld\n", (long long)((int64_t *)TF_TensorData(classes))[i]);
        TF_DeleteTensor(pixels);
        TF_DeleteTensor(classes);
    }
    fclose(file);
    TF_CloseSession(session, status);
    TF_DeleteSession(session, status);
    TF_DeleteGraph(graph);
    TF_DeleteBuffer(meta);
    TF_DeleteSessionOptions(options);
    TF_DeleteStatus(status);
    return 0;
}
