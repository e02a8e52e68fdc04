/* cc main.c mlp.a resnet18.a fit.a -o main -lm && ./main */
#include <stdio.h>

#include "fit.h"
#include "mlp.h"
#include "resnet18.h"

static float image[1][784], digits[1][10], picture[1][3][64][64], classes[1][1000];
static double workspace[RESNET18_WORKSPACE_BYTES / 8 + MLP_WORKSPACE_BYTES / 8];
static double state[FIT_STATE_BYTES / 8], fit_workspace[FIT_WORKSPACE_BYTES / 8 + 1];

static void ramp(float *x, int count) {
    for (int i = 0; i < count; i++)
        x[i] = (float)(i % 17) / 17;
}

static int show(const char *name, const float *y, int code, const char *error) {
    if (code != 0)
        return fprintf(stderr, "%s: %s\n", name, error);
    printf("%s %.9g %.9g %.9g %.9g\n", name, y[0], y[1], y[2], y[3]);
    return 0;
}

int main(void) {
    const void *image_in[] = {image}, *picture_in[] = {picture};
    void *digits_out[] = {digits}, *classes_out[] = {classes};
    ramp(image[0], 784);
    ramp(picture[0][0][0], 3 * 64 * 64);
    int code = mlp_run(image_in, digits_out, workspace);
    if (show("mlp", digits[0], code, mlp_error_text(code)))
        return 1;
    code = resnet18_run(picture_in, classes_out, workspace);
    if (show("resnet18", classes[0], code, resnet18_error_text(code)))
        return 1;

    float x[8][4], y[8][1], loss, losses[4];
    const void *batch[] = {x, y};
    void *result[] = {&loss};
    ramp(x[0], 32);
    for (int i = 0; i < 8; i++)
        y[i][0] = x[i][0] + x[i][1] + x[i][2] + x[i][3];
    code = fit_init(state);
    for (int step = 0; step < 100 && code == 0; step++) {
        code = fit_run(batch, result, state, fit_workspace);
        if (step % 33 == 0)
            losses[step / 33] = loss;
    }
    return show("losses", losses, code, fit_error_text(code)) != 0;
}
