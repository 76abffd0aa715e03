#ifndef MEAN_H
#define MEAN_H

double mean(const double *numbers, int count);

#endif
